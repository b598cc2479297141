"""Handwritten digits, learned together by sites that each know only some of them."""
