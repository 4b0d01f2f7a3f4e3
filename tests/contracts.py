"""One market of each kind of contract, for tests of arithmetic that is said per contract."""

from feeds.model import Contract, Instrument, Kind


def contract_of(contract: Contract, contract_size: float, lot: float = 0.001) -> Instrument:
    """A perpetual in BTC/USDT of that kind of contract; ticks of 0.01."""
    return Instrument(
        id="X:BTC/USDT:USDT",
        venue="X",
        market="swap",
        native="BTC",
        base="BTC",
        quote="USDT",
        kind=Kind.PERP,
        contract=contract,
        contract_size=contract_size,
        tick=0.01,
        lot=lot,
    )
