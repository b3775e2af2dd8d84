"""Rules of the constitution beyond standing, a file for each subject. Importing this knows them all."""

from policies.rules import corrections, documents, licenses, trade
from policies.rules.rule import RULES, SENTENCES

__all__ = ["RULES", "SENTENCES", "corrections", "documents", "licenses", "trade"]
