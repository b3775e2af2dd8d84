"""Which way each finding compares what was observed with its limit, so that numbers alone recheck it.

A finding under a code, or a breach (`late`), states a relation. `quantity_cap.over` states that more was
observed than the limit; `quantity_cap.pass`, that no more was. What is not listed cannot be rechecked so: its
numbers are names, or it rests on more than them (`end_user_statement.pass`: below the limit, or a statement
is on file).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Relation = Literal["<", "<=", "==", "!=", ">=", ">"]

_STATED: Final[Mapping[Relation, str]] = {
    "<=": """
        quantity_cap.pass value_cap.pass window_cap.pass us_ratio_cap.pass supply_certified.pass
        import_approved.pass export_filed.pass location_consistency.pass
        prohibited_end_use.pass ownership.pass
        custom.not_above policy_activation.not_newer
    """,
    ">": """
        quantity_cap.over value_cap.over
        value_cap.within_tolerance window_cap.over us_ratio_cap.over supply_certified.old
        validity_window.release_too_long
        import_approved.over import_approved.ended export_filed.over location_consistency.too_far
        rma_one_for_one.over rma_one_for_one.advance rma_one_for_one.not_one_for_one
        rma_one_for_one.more_than_asked rma_one_for_one.before_return
        end_user_statement.missing end_user_statement.expired screening_clear.stale
        prohibited_end_use.share no_onward_transfer.not_allowed no_onward_transfer.passed
        custom.above
        order_open.too_many acceptance_of.too_many clearance_matches.too_many
    """,
    "<": """
        validity_window.pass performance_thresholds.pass
        validity_window.not_begun import_approved.not_begun export_filed.under ownership.stale
        destruction_evidence.no_witness fleet_coverage.short remote_tenant_kyc.short
        service_level.below service_level.credit_due
        attestation_validity.failed attestation_validity.indeterminate
        unique_identity.elsewhere unique_identity.two_sites unique_identity.two_uuids
        unique_identity.two_serials
        conditions_acknowledged.missing screening_clear.missing screening_clear.lists screening_clear.expired
        party_item_match.party laboratory_test.not_passed
        laboratory_test.sample_short levy_settled.short prepayment.short
        revenue_share.short supply_certified.incomplete retention_hold.retained license_active.in_transit
        custody_continuity.not_released custody_continuity.dispatched_twice custody_continuity.missing
        release_stands.taken_back custody_continuity.swapped custody_continuity.not_there custom.below
        devices_held.elsewhere devices_here.away device_state.wrong devices_known.unknown serials_free.taken
        rma_known.not_of_case rma_replacement.twice rma_replacement.taken transfer_devices.elsewhere
        transfer_devices.license transfer_known.devices
        max_backdating.backdated order_amendable.below_released period_over.not_yet license_amendment.window
        policy_activation.retroactive
        install_deadline.late rma_return.late revenue_share_due.late batch_due.late domestic_copurchase.late
    """,
    ">=": """
        destruction_evidence.pass fleet_coverage.pass remote_tenant_kyc.pass service_level.pass
        attestation_validity.pass unique_identity.pass conditions_acknowledged.pass screening_clear.pass
        party_item_match.pass levy_settled.pass revenue_share.pass
        custody_continuity.pass custody_continuity.not_dispatched retention_hold.pass
        max_backdating.pass
        validity_window.ended release_term.past release_stands.expired
        performance_thresholds.tpp performance_thresholds.bandwidth ownership.holders
        screening_clear.hit license_active.dispatched_after license_active.grace_over
        license_active.received_undispatched custom.not_below
    """,
    "!=": """
        license_active.suspended license_active.revoked license_active.expired
        custom.other value_cap.currency levy_settled.currency end_user_statement.currency
        export_filed.license export_filed.eccn export_filed.value import_approved.item import_approved.country
        item_match.license item_match.order item_match.sku clearance_matches.approval
        clearance_matches.country
        invoice_known.order invoice_known.currency acceptance_of.order order_known.currency
        order_amendable.currency policy_document.name policy_document.version draft_known.named
        transfer_known.receiver inspection_known.not_yours license_standing.authority application_known.item
    """,
    "==": "custom.same",
}
RELATIONS: Final[Mapping[str, Relation]] = {
    code: relation for relation, codes in _STATED.items() for code in codes.split()
}
"""By code, or name and `pass`: what a finding states of observed and limit."""

CUT_OFF: Final = frozenset({"fleet_coverage", "remote_tenant_kyc", "service_level", "prohibited_end_use"})
"""What is observed is a percentage, cut off after two digits; the shortfall is counted in something else."""
STRICT: Final = frozenset({"custom.not_below", "custom.not_above"})
"""The shortfall is to the nearest whole number that would have passed."""
IN_PART: Final = frozenset(
    {"attestation_validity.failed", "attestation_validity.indeterminate", "custody_continuity.not_dispatched"}
)
"""The shortfall counts some of those that make the difference, or others."""
