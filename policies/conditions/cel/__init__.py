"""Conditions that a document writes itself: a small dialect of CEL, typed when the document is parsed.

`variables` says what an expression may name, `dialect` which functions and how large it may be,
`checked` reads what the CEL library has type-checked, `cost` counts the steps, `program` puts them
together. The library is imported by the first document that has an expression, and by no other.
"""
