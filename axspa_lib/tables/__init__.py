"""Tables 1 to 4 of the paper from plain tables of readings and predictions."""

from axspa_lib.study.published import published, published_dice, published_number

__all__ = ["published", "published_dice", "published_number"]
