"""A look at the log of a live database, at one of three depths, and what it found. Reads, and writes nothing.

head: the head row, the last entry, and by the tiles that the checkpoints known from elsewhere are of this
log. tail: every byte since the last run that found nothing. all: every byte. Where a replay is kept from
one run to the next, decisions and facts are recomputed as far as the bytes are read, and a look at the head
goes on to the tail and to a further page of facts. What lies beside the log is looked at each time.
"""
