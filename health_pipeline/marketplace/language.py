"""Captions and hashtags from a small grammar, with words of each market's languages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from health_pipeline.marketplace.columns import NOBODY, Array
from health_pipeline.marketplace.parameters import CATEGORIES, LANGUAGES, POLICIES

OPENINGS = {
    "id": (
        "yuk cobain",
        "review jujur",
        "racun terbaru",
        "haul hari ini",
        "wajib punya",
        "lagi promo",
        "akhirnya ketemu",
    ),
    "th": ("ลองแล้ว", "รีวิวจริง", "ของมันต้องมี", "โปรวันนี้", "ป้ายยา", "แนะนำเลย", "มาดูกัน"),
    "vi": ("cùng thử", "review thật", "săn deal", "mẹo hay", "nhất định phải có", "mới về", "mình đã dùng"),
    "tl": (
        "tara subukan",
        "honest review",
        "budol finds",
        "sulit na sulit",
        "must have",
        "ang ganda nito",
        "try natin",
    ),
    "ms": (
        "jom cuba",
        "review jujur",
        "wajib ada",
        "promosi hari ini",
        "racun baru",
        "memang puas hati",
        "baru sampai",
    ),
    "en": ("trying out", "honest review", "must have", "today only", "unboxing", "my favourite", "new in"),
    "zh": ("开箱", "真实测评", "必买", "今日优惠", "好物分享", "新品到货", "种草"),
}
PRAISES = {
    "id": ("murah banget", "kualitas oke", "auto checkout", "bikin nagih", "cocok buat sehari-hari", "ready stok"),
    "th": ("ถูกมาก", "คุณภาพดี", "ใช้ดีจริง", "คุ้มสุดๆ", "พร้อมส่ง", "สวยมาก"),
    "vi": ("rẻ quá trời", "chất lượng ổn", "đáng tiền", "dùng thích lắm", "có sẵn hàng", "xinh xỉu"),
    "tl": ("ang mura", "super quality", "sulit ang bayad", "ang lambot", "on hand na", "perfect pang araw-araw"),
    "ms": ("murah gila", "kualiti terbaik", "berbaloi", "memang lawa", "stok ada", "sesuai harian"),
    "en": ("so affordable", "great quality", "worth every cent", "works well", "in stock", "perfect for daily use"),
    "zh": ("超便宜", "质量很好", "很值", "好用", "现货", "日常必备"),
}
NOUNS = {
    "beauty": ("serum", "lip tint", "sunscreen", "cushion"), "fashion": ("hoodie", "dress", "sneakers", "tote bag"),
    "electronics": ("earbuds", "power bank", "smart watch", "ring light"),
    "home": ("storage box", "air fryer", "bed sheet", "lamp"),
    "food": ("coffee", "snack box", "instant noodle", "sambal"),
    "health": ("collagen", "vitamin c", "herbal tea", "massager"), "baby": ("diaper", "baby wipes", "stroller", "bib"),
    "sports": ("yoga mat", "jersey", "dumbbell", "running shoes"), "toys": ("blind box", "plushie", "puzzle", "rc car"),
    "jewelry": ("bracelet", "ring", "necklace", "earrings"), "auto": ("dashcam", "helmet", "seat cover", "car perfume"),
    "luxury": ("handbag", "wallet", "watch", "scarf"),
}  # fmt: skip
MARKS = {
    "fraud": ("pay first by transfer", "double your money", "investment slot"),
    "fake_engagement": ("follow for follow", "buy followers", "like4like"),
    "counterfeit": ("mirror 1:1", "super copy", "kw premium", "oem grade"),
    "illegal_goods": ("no licence needed", "vape pods", "under the counter"),
    "prohibited_goods": ("prescription free", "slimming pills", "whitening injection"),
    "intellectual_property": ("movie tie-in print", "logo custom", "fan edition"),
    "misleading_promotion": ("90% off only now", "last 3 pieces", "free gift for all"),
    "off_platform": ("order by chat", "wa only", "add line id", "link in telegram"),
    "exaggerated_claims": ("cures in 3 days", "100% guaranteed", "lose 10 kg"),
    "false_giveaway": ("free phone giveaway", "comment to win", "everyone wins"),
    "low_quality": ("", "test", "..."),
    "static_live": ("24h live", "non stop", "live rerun"),
    "unoriginal": ("repost", "cr owner", "from fyp"),
}
GENERAL_TAGS = ("#fyp", "#viral", "#racun", "#shopfinds", "#live", "#promo", "#review", "#haul", "#deal", "#new")

_OPENING = pa.array([o for language in LANGUAGES for o in OPENINGS[language]])
_PRAISE = pa.array([p for language in LANGUAGES for p in PRAISES[language]])
_NOUN = pa.array([n for category in CATEGORIES for n in NOUNS[category]])
_MARK = pa.array([m for policy in POLICIES for m in (MARKS[policy] * 4)[:4]])
_TAG = pa.array(GENERAL_TAGS)
_CATEGORY_TAG = pa.array([f"#{c}{s}" for c in CATEGORIES for s in ("", "lover", "finds", "check")])


def _pick(rng: np.random.Generator, values: pa.Array, group: Array, size: int) -> pa.Array:
    return values.take(pa.array(group.astype(np.int64) * size + rng.integers(0, size, len(group))))


def captions(rng: np.random.Generator, language: Array, category: Array, policy: Array, terms: pa.Array) -> pa.Array:
    """A caption for each content.

    Args:
        policy: policy violated, or :data:`NOBODY`; half of the violations let slip a telling phrase.
        terms: words planted by a scenario, null where none is.
    """
    slips = (policy != NOBODY) & (rng.random(len(policy)) < 0.5)
    mark = _pick(rng, _MARK, np.maximum(policy, 0), 4)
    parts = [
        _pick(rng, _OPENING, language, 7),
        _pick(rng, _NOUN, category, 4),
        _pick(rng, _PRAISE, language, 6),
        pc.if_else(pa.array(slips), mark, pa.scalar(None, pa.string())),
        terms,
    ]
    return pc.binary_join_element_wise(*parts, " ", null_handling="skip")


def hashtags(rng: np.random.Generator, category: Array, planted: pa.Array) -> pa.Array:
    """Hashtags in their order, joined by blanks.

    Args:
        planted: hashtags that replace the usual ones, null where none do.
    """
    size = len(category)
    second = _TAG.take(pa.array(np.minimum(rng.geometric(0.25, size) - 1, len(GENERAL_TAGS) - 1)))
    extra = _pick(rng, _CATEGORY_TAG, category, 4)
    usual = pc.binary_join_element_wise(_CATEGORY_TAG.take(pa.array(category.astype(np.int64) * 4)), second, extra, " ")
    return pc.coalesce(planted, usual)


def flags(texts: Sequence[str | None], codes: Array) -> pa.Array:
    """Texts by code, null for :data:`NOBODY`."""
    codes = np.asarray(codes, dtype=np.int64)
    if not texts:
        return pa.nulls(len(codes), pa.string())
    return pa.array(texts, pa.string()).take(pa.array(codes, mask=codes < 0))
