"""Webhooks: who must know of an entry is told, is told again, and it is known who was not told.

The log is the outbox. `outbox` turns committed entries into deliveries in the transaction that moves its
cursor; `sending` attempts what is due. Both run in every process, in two lanes that share nothing: licenses
and revocations, and everything else. Pure parts: `signature`, `schedule`, `message`, `scope`.
"""
