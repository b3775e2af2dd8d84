"""The kinds of event, a file for each stage of a chip's life. Importing this knows them all."""

from ledger.event import KINDS
from ledger.kinds import contract, device, ledger, license, order, shipment  # noqa: A004

__all__ = ["KINDS", "contract", "device", "ledger", "license", "order", "shipment"]
