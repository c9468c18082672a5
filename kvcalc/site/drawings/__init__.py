"""Drawings as SVG, with a title and a description for those who do not see them."""
