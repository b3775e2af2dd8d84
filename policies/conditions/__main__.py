"""Print `policies/CONDITIONS.md`."""

import sys

from policies.conditions.page import page

sys.stdout.write(page())
