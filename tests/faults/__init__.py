"""The fault campaign: every fault of the simulator's catalogue on real sockets, against the real feeds, and what it showed."""
