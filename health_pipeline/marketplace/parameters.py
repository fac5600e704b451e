"""What the simulated marketplace is like: the numbers that decide how much there is of what.

A number without a source is a choice, made so that 1,000 creators give volumes in which a shift can be seen. Spreads
of delays, reasons of refunds and the like stand where they are used.
"""

from __future__ import annotations

from dataclasses import dataclass

MARKETS = ("ID", "TH", "VN", "PH", "MY", "SG")
KINDS = ("video", "live")
CATEGORIES = (
    "beauty", "fashion", "electronics", "home", "food", "health", "baby", "sports", "toys", "jewelry", "auto", "luxury",
)  # fmt: skip
TIERS = ("nano", "micro", "mid", "macro", "mega")
LANGUAGES = ("id", "th", "vi", "tl", "ms", "en", "zh")
SURFACES = ("feed", "shop_tab", "search", "live_square", "profile")
POLICIES = (
    "fraud", "fake_engagement", "counterfeit", "illegal_goods", "prohibited_goods", "intellectual_property",
    "misleading_promotion", "off_platform", "exaggerated_claims", "false_giveaway", "low_quality", "static_live",
    "unoriginal",
)  # fmt: skip
SEVERITIES = ("severe", "major", "moderate", "minor")
ACTIONS = ("none", "warn", "demote", "remove", "points", "restrict", "freeze_commission", "revoke", "ban")
ACTORS = ("rule", "model", "human")
SOURCES = ("own_initiative", "user_report", "trusted_flagger")
STATUSES = ("active", "restricted", "banned", "left")
VIDEO, LIVE = 0, 1
ACTIVE, RESTRICTED, BANNED, LEFT = range(4)

LOCAL_RHYTHM = (
    0.35, 0.2, 0.12, 0.1, 0.12, 0.25, 0.5, 0.7, 0.8, 0.85, 0.95, 1.15,
    1.35, 1.15, 0.95, 0.95, 1.0, 1.1, 1.35, 1.75, 2.05, 2.0, 1.5, 0.8,
)  # fmt: skip
"""Activity by local hour, a lunch peak and an evening peak; scaled to sum to one."""

POLICY_SEVERITY = (0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3)
"""Of each policy; order of :data:`POLICIES`, codes of :data:`SEVERITIES`."""

CATEGORY_RISK: dict[str, dict[str, float]] = {
    "counterfeit": {"beauty": 2.0, "fashion": 1.5, "electronics": 1.4, "luxury": 6.0, "jewelry": 1.6, "food": 0.2},
    "intellectual_property": {"fashion": 1.6, "toys": 1.8, "luxury": 2.0, "food": 0.3},
    "exaggerated_claims": {"beauty": 1.8, "health": 5.0, "baby": 1.2, "electronics": 0.5},
    "prohibited_goods": {"health": 4.0, "beauty": 1.3, "auto": 1.2, "toys": 0.4},
    "misleading_promotion": {"electronics": 1.5, "home": 1.2},
    "off_platform": {"luxury": 1.8, "jewelry": 1.6, "electronics": 1.4},
}
"""Factor on a policy's base rate by category; 1 where none is given."""

MARKET_RISK: dict[str, dict[str, float]] = {
    "counterfeit": {"ID": 1.1, "SG": 0.5},
    "off_platform": {"VN": 1.4, "TH": 1.2, "SG": 0.5},
    "static_live": {"ID": 1.3, "PH": 1.2},
}


@dataclass(frozen=True)
class Parameters:
    """Rates are of things a day unless said otherwise; times are hours unless said otherwise."""

    # Markets, in the order of MARKETS.
    # share of creators and users in each market
    market_shares: tuple[float, ...] = (0.36, 0.19, 0.18, 0.14, 0.09, 0.04)
    utc_offset_hours: tuple[int, ...] = (7, 7, 7, 8, 8, 8)  # IANA: Jakarta, Bangkok, Ho Chi Minh, Manila, KL, Singapore
    market_languages: tuple[tuple[float, ...], ...] = (  # share of id, th, vi, tl, ms, en, zh in each market
        (0.95, 0, 0, 0, 0, 0.05, 0),
        (0, 0.96, 0, 0, 0, 0.04, 0),
        (0, 0, 0.97, 0, 0, 0.03, 0),
        (0, 0, 0, 0.7, 0, 0.3, 0),
        (0, 0, 0, 0, 0.68, 0.2, 0.12),
        (0, 0, 0, 0, 0.08, 0.62, 0.3),
    )
    # share of creators in each category; scaled to sum to one
    category_shares: tuple[float, ...] = (0.2, 0.18, 0.09, 0.1, 0.09, 0.08, 0.07, 0.05, 0.05, 0.04, 0.03, 0.02)
    own_category: float = 0.9  # share of a creator's contents in their main category

    # Creators, in the order of TIERS.
    tier_shares: tuple[float, ...] = (0.6, 0.25, 0.1, 0.04, 0.01)  # share of creators at the start
    tier_followers: tuple[float, ...] = (2e3, 2e4, 1.5e5, 8e5, 4e6)  # medians
    tier_posts: tuple[float, ...] = (0.42, 0.8, 1.1, 1.3, 1.5)  # contents a day
    tier_views: tuple[float, ...] = (180, 800, 3e3, 9e3, 3e4)  # mean views of a content in its whole life
    live_share: tuple[float, ...] = (0.12, 0.16, 0.2, 0.2, 0.2)  # livestreams among contents
    tier_propensity: tuple[float, ...] = (1.05, 1.0, 0.9, 0.5, 0.3)  # factor on violations: the large have more to lose
    creator_spread: float = 0.4  # log standard deviation of creators' audiences
    content_spread: float = 0.7  # log standard deviation of contents' audiences around their creator's
    join_rate: float = 0.0035  # new creators a day, per creator at the start
    churn: float = 0.0022  # chance to leave on a day, of a creator of long standing
    tier_churn: tuple[float, ...] = (1.1, 1.0, 0.5, 0.1, 0.05)  # factor on it: the large stay
    churn_new: float = 4.0  # added factor on the first day, fading with a time constant of 10 days
    churn_after_violation: float = 2.0  # factor in the 30 days after a violation
    evaders: float = 0.06  # share of new creators who were banned before
    growth: float = 0.004  # daily growth of followers
    snapshot_days: int = 90  # creators stay in the snapshot so long after they left (tables.yaml)

    # Shops and products.
    shops_per_creator: float = 0.3  # shops there are, per creator at the start
    products_per_shop: int = 10  # products of each shop
    product_price: float = 14.0  # median, US dollars
    unauthorised: float = 0.06  # share of products whose brand is not authorised

    # Contents.
    life_days: int = 7  # a video is shown for so many days, a livestream on its day
    # share of a video's views on its first, second, ... day
    views_by_age: tuple[float, ...] = (0.42, 0.25, 0.13, 0.08, 0.05, 0.04, 0.03)
    bursts_by_age: tuple[float, ...] = (6.4, 4.2, 2.6, 1.6, 1.1, 0.8, 0.6)  # hours x surfaces with traffic
    live_minutes: float = 80.0  # median length
    ai_generated: float = 0.08  # share of contents; twice that of violating ones
    near_duplicate: float = 0.03  # share of contents that repeat an earlier one; 80 % of unoriginal ones do
    low_quality_below: float = 0.3  # quality scores below it count as low quality
    # share of a video's bursts on feed, shop tab, search, live square, profile
    video_surfaces: tuple[float, ...] = (0.7, 0.13, 0.09, 0.0, 0.08)
    live_surfaces: tuple[float, ...] = (0.36, 0.09, 0.03, 0.45, 0.07)  # the same for livestreams
    view_rate: tuple[float, ...] = (0.55, 0.09)  # views per impression; for livestreams the enter-room rate
    watch_seconds: tuple[float, ...] = (14.0, 95.0)  # per view
    not_interested: float = 0.003  # per impression
    click_rate: tuple[float, ...] = (0.028, 0.05)  # product clicks per view
    restated: float = 0.01  # share of content_stats rows that are corrected within two days

    # Violations. Base rates per content; static_live among livestreams, unoriginal among videos.
    violation_rates: tuple[float, ...] = (  # of each policy, per content of an average creator
        0.002, 0.003, 0.008, 0.001, 0.005, 0.005, 0.007, 0.005, 0.007, 0.004, 0.009, 0.04, 0.009,
    )  # fmt: skip
    propensity: tuple[float, float] = (0.4, 2.6)  # Beta; a creator's factor on these rates is the draw over its mean
    repeaters: float = 0.02  # persistent repeat offenders
    repeater_factor: float = 8.0  # their factor on violations

    # Detection. A model scores every content: logit of the score is normal.
    score_benign: tuple[float, float] = (-3.2, 1.2)  # mean, standard deviation
    score_violating: tuple[float, float] = (1.2, 1.6)  # the same for violating contents
    act_above: float = 0.0  # logit: the model acts by itself
    review_above: float = -1.4  # logit: a human looks
    rule_share: float = 0.3  # of what the model would act on, so much is caught by rules
    model_minutes: float = 3.0  # median from publication to the decision of a model or rule
    detect_minutes: float = 20.0  # median from publication to raising a case for humans
    human_hours: float = 5.0  # median from case to human decision
    human_spread: float = 1.0  # log standard deviation
    weekend_slower: float = 1.35  # factor on human hours on Saturday and Sunday
    human_sensitivity: float = 0.93  # chance that a human sees a violation
    human_specificity: float = 0.97  # chance that a human clears an innocent content
    due_hours: tuple[float, ...] = (6, 12, 24, 48)  # by severity
    double_review: float = 0.12  # share of human decisions with a second opinion
    agreement: float = 0.93  # chance that the second opinion is the same
    review_minutes: tuple[float, ...] = (5.0, 4.0, 3.0, 1.5)  # medians, by severity
    creators_per_reviewer: int = 60  # creators at the start for each reviewer

    # Reports, per view.
    report_benign: float = 7e-5  # reports of an innocent content
    report_violating: tuple[float, ...] = (6e-3, 4e-3, 2.5e-3, 1.2e-3)  # by severity
    brigades: float = 2.0  # contents attacked a day, per 1,000 creators
    brigade_size: float = 25.0  # reports of each attack, on average
    trusted: float = 0.05  # share of reports on violating contents by trusted flaggers
    report_to_case: float = 0.4  # chance that reports on a content with no case open one

    # Appeals.
    appeal_true: float = 0.1  # chance that a deserved action is appealed; 2.5 times that for actions on creators
    appeal_false: float = 0.45  # chance that a mistake is appealed
    appeal_days: float = 1.2  # median from decision to appeal; at most 13
    outcome_days: float = 2.0  # median from appeal to outcome; at most 14
    overturn_true: float = 0.05  # chance that an appeal against a deserved action is granted
    overturn_false: float = 0.85  # chance that an appeal against a mistake is granted

    # Points: a creator's health rating starts at 200 and falls below milestones (TikTok Shop US help centre).
    rating_start: int = 200  # health rating of a new creator
    points: tuple[int, ...] = (24, 12, 6, 2)  # deducted, by severity
    points_expire_days: int = 90  # days after which deducted points come back
    # ratings at which a creator is restricted, loses commission, permission, and is banned
    milestones: tuple[int, ...] = (150, 100, 50, 0)
    restricted_days: int = 7  # length of a restriction
    quiz_points: int = 2  # points for a quiz passed at the first attempt
    order_milestones: tuple[int, ...] = (100, 1_000, 10_000, 100_000)  # orders at which points are given
    order_points: int = 5  # points for each of them

    # Education.
    assigned: float = 0.85  # share of violations followed by a course or quiz
    quiz_share: float = 0.45  # share of quizzes among them; the others are courses
    viewed: float = 0.62  # share that is ever opened
    view_days: float = 1.5  # median
    quiz_passed: float = 0.72  # at the first attempt
    education_effect: float = 0.8  # factor on violations for 60 days after finishing

    # Orders.
    order_rate: float = 0.042  # orders per product click
    delivered_days: float = 3.0  # median
    refunded: float = 0.035  # share of delivered orders
    refunded_violating: float = 0.22  # the same where the content truly violates
    reviewed: float = 0.35  # share of delivered orders with a review
    complained: float = 0.008  # share of orders with a complaint
    complained_violating: float = 0.09  # the same where the content truly violates
    cancelled: float = 0.02  # share of orders cancelled before delivery

    # Samples, per 1,000 creators; they grow with the square root of the number of creators.
    sample_weighted: int = 80  # views drawn with chances proportional to the model's score
    sample_uniform: int = 40  # views drawn with equal chances
    sample_decisions: int = 30  # actions drawn with equal chances
    score_floor: float = 0.01  # smallest score in the draw, which bounds the weights
    rater_sensitivity: float = 0.98  # chance that a rater sees a violation
    rater_specificity: float = 0.999  # chance that a rater clears an innocent content
    label_days: float = 2.0  # median, 1 to 7

    # Surveys, per 1,000 creators.
    survey_creators: float = 40.0  # creators asked a day
    survey_users: float = 80.0  # users asked a day
    fairness_invited: float = 0.5  # share of decided appeals; of actions without appeal a fifth of it

    # Arrival.
    stats_hours: float = 2.2  # median delay of content statistics, at least 1, at most 48
    stats_straggler: float = 0.03  # share that takes up to two days

    warm_up_days: int = 28  # simulated before the first day and not written


DEFAULT = Parameters()
