"""Columns of the prioritised lists, and of what they are made with.

They stand apart from the estimates, which load SciPy and compiled code.
"""

import pyarrow as pa

from health_pipeline.storage.columns import column

RISKS = pa.schema(
    [
        column("day", pa.date32(), "the day of the list"),
        column("rank", pa.int32(), "1 is first"),
        column("incident", pa.string(), "id of an open incident of kind shift"),
        column("score", pa.float64(), "size x exposure x confidence x harm x record"),
        column("size", pa.float64(), "|log2(observed / expected)|, at most 5"),
        column("exposure", pa.float64(), "log10(1 + |excess per day|)"),
        column("confidence", pa.float64(), "1 - q, times the share of the interval on the far side of no change"),
        column("harm", pa.float64(), "1 in the harmful direction, 0.5 in the other"),
        column("record", pa.float64(), "precision over what the detector promises; 1 while nobody has judged anything"),
        column("precision", pa.float64(), "share of its metric's incidents expected to be no false alarm, by verdicts"),
        column("judged", pa.int64(), "incidents of its metric with a verdict"),
        column("verdict", pa.string(), "real, expected, false_alarm or new_normal; null: not judged, or grown since"),
        column("answered", pa.bool_(), "judged to need no more attention: ranked after all others"),
        column("title", pa.string(), "what happened and where, in a few words"),
        column("sentence", pa.string(), "what happened, in words"),
        column("reasons", pa.list_(pa.string()), "codes of what makes the score what it is"),
        column("why", pa.string(), "the reasons in words"),
        column(
            "evidence", pa.list_(pa.string()), "where it comes from, how far it reaches, whether it may be the data"
        ),
    ]
)

TRACK_RECORDS = pa.schema(
    [
        column("day", pa.date32(), "verdicts given by its end; of the newest day: so far"),
        column("metric", pa.string(), "of the incidents' roots"),
        column("judged", pa.int64(), "incidents with a verdict, each by the latest"),
        column("real", pa.int64(), "of them real"),
        column("expected", pa.int64(), "of them expected"),
        column("false_alarm", pa.int64(), "of them false alarms"),
        column("new_normal", pa.int64(), "of them what is normal now"),
        column("raw", pa.float64(), "share that was no false alarm"),
        column("precision", pa.float64(), "the share, drawn to the other metrics' and to what the detector promises"),
        column("low", pa.float64(), "lower end of its 95 % interval"),
        column("high", pa.float64(), "upper end"),
        column("record", pa.float64(), "precision over what the detector promises: a factor of scores"),
    ]
)

CLUSTERS = pa.schema(
    [
        column("day", pa.date32(), "the day of the list"),
        column("cluster", pa.string(), "named after what its members share, so the same from day to day"),
        column("creator_id", pa.string(), "a member"),
        column("contents", pa.int64(), "contents of the last 14 days that carry the cluster's traces"),
        column("share", pa.float64(), "they among all contents of the member in these days"),
        column("traces", pa.string(), "what the members share, in words, the most telling first"),
        column("score", pa.float64(), "mean weight of the links with the other members, in units of the threshold"),
        column("size", pa.int64(), "members of the cluster"),
    ]
)

TRENDS = pa.schema(
    [
        column("day", pa.date32(), "the day of the list"),
        column("kind", pa.string(), "term, hashtag, product or sound"),
        column("value", pa.string(), "the word or pair of words, the hashtag, the product's or sound's identifier"),
        column("market", pa.string(), "where it bursts; null: over all markets"),
        column("trend", pa.string(), "bursts with the same contents have the same: kind and value of the clearest"),
        column("count", pa.int64(), "distinct creators who used it in the last three days"),
        column("expected", pa.float64(), "distinct creators to be expected, by the past, the season and the day"),
        column("log_odds", pa.float64(), "natural log of the odds ratio, observed against expected"),
        column("z", pa.float64(), "log_odds over its standard error"),
        column("p_value", pa.float64(), "chance of so many creators or more without a burst"),
        column("q_value", pa.float64(), "false-discovery-adjusted, over the whole vocabulary and over days"),
        column("new", pa.bool_(), "not used in the weeks before the last one"),
        column("first_seen", pa.date32(), "first day of use that is remembered"),
        column("burst_since", pa.date32(), "day on which this burst was found first"),
        column("contents", pa.int64(), "contents of the last three days that have it"),
        column("views", pa.int64(), "views of these contents so far"),
        column("violation_share", pa.float64(), "of these contents: violations confirmed"),
        column("cluster_share", pa.float64(), "of these contents: published by a member of a cluster"),
        column("suspect_share", pa.float64(), "of these contents: either"),
        column("examples", pa.list_(pa.string()), "contents, the most viewed first, each of another creator"),
        column("creators", pa.list_(pa.string()), "creators with the most of these contents"),
    ]
)

PREVALENCE = pa.schema(
    [
        column("day", pa.date32(), "what was known by its end"),
        column("until", pa.date32(), "last of the 28 days of views that the figures are for: the newest with labels"),
        column("market", pa.string(), "empty: all"),
        column("kind", pa.string(), "kind of content; empty: all"),
        column("policy", pa.string(), "policy violated; empty: any"),
        column("estimate", pa.float64(), "share of views of violating content"),
        column("low", pa.float64(), "lower end of its 95 % interval"),
        column("high", pa.float64(), "upper end"),
        column("draws", pa.int64(), "labelled draws of both arms"),
        column("effective", pa.float64(), "equal draws that would know the share as well"),
        column("positives", pa.int64(), "draws labelled as violating"),
        column("uniform_draws", pa.int64(), "labelled draws of the uniform arm"),
        column("uniform_estimate", pa.float64(), "the share by the uniform arm alone; null without draws"),
        column("uniform_low", pa.float64(), "lower end of its 95 % interval"),
        column("uniform_high", pa.float64(), "upper end"),
        column("p_value", pa.float64(), "of both arms telling the same share; null where one has no draws"),
        column("agrees", pa.bool_(), "p_value above 0.01"),
        column("as_one", pa.float64(), "share of draws whose chances in both arms are known; the others are averaged"),
    ]
)

PRECISION = pa.schema(
    [
        column("day", pa.date32(), "what was known by its end"),
        column("subject", pa.string(), "kind of name: rule, model, actor or policy"),
        column("name", pa.string(), "rule, model, actor (rule, model, human) or policy of the actions"),
        column("decided", pa.int64(), "actions on contents in the review's memory"),
        column("labelled", pa.int64(), "of them labelled anew"),
        column("right", pa.int64(), "of those labelled as violating"),
        column("raw", pa.float64(), "design-weighted share of right ones, newer counting more; null without labels"),
        column("precision", pa.float64(), "share of right actions, weighted by reversals and drawn to the name's like"),
        column("low", pa.float64(), "lower end of its 95 % interval"),
        column("high", pa.float64(), "upper end"),
        column("mature", pa.int64(), "actions at least 30 days old"),
        column("reversed", pa.int64(), "of them reversed"),
        column("reversal_rate", pa.float64(), "share of the mature that was reversed; null without any"),
        column("reversal_low", pa.float64(), "lower end of its 95 % interval"),
        column("reversal_high", pa.float64(), "upper end"),
    ]
)

REVIEWS = pa.schema(
    [
        column("day", pa.date32(), "the list is made of what was known by its end (UTC)"),
        column("queue", pa.string(), "clusters, creators, contents or products"),
        column("rank", pa.int32(), "by score, in the queue; 1 is first"),
        column("subject", pa.string(), "id of the cluster, creator, content or product"),
        column("case", pa.string(), "queue and subject"),
        column("market", pa.string(), "of the subject; of a cluster, where it harms most"),
        column("category", pa.string(), "the same"),
        column("tier", pa.string(), "the same; null for products"),
        column("score", pa.float64(), "harm averted per minute of review, in weighted views"),
        column("score_low", pa.float64(), "5 % of the posterior"),
        column("score_high", pa.float64(), "95 % of the posterior"),
        column("probability", pa.float64(), "of a violation; in a case of several parts, mean over the views to come"),
        column("probability_low", pa.float64(), "5 % of the posterior"),
        column("probability_high", pa.float64(), "95 % of the posterior"),
        column("exposure", pa.float64(), "views to come if nobody acts, a mean; of a product: its usual audience"),
        column("severity", pa.float64(), "harm of one view that violates"),
        column("repeat", pa.float64(), "confirmed violations of 90 days over six, at most 1"),
        column("velocity", pa.float64(), "0 at the pace that age and audience let expect, 0.5 at twice that"),
        column("gmv", pa.float64(), "US dollars that will be sold, in a case of several parts where it violates"),
        column("minutes", pa.float64(), "what the review takes"),
        column("harm", pa.float64(), "score x minutes"),
        column("items", pa.int32(), "what there is to look at: contents, or a cluster's members"),
        column("selected", pa.bool_(), "on the list"),
        column("explored", pa.bool_(), "on the list to learn, by a draw of what its probability may be"),
        column("chance", pa.float64(), "of being selected, over these draws"),
        column("reasons", pa.list_(pa.string()), "codes of REASONS, the weightiest first"),
        column("sentence", pa.string(), "the case in words"),
        column("policy", pa.string(), "likeliest policy"),
        column(
            "examples",
            pa.list_(pa.string()),
            "contents to look at, the most harmful first; where none is undecided, the newest",
        ),
    ]
)
