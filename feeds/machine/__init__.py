"""Reading from a tardis-machine: where one is and what is asked of it, what it has kept, and its live stream as venues.

Not here: what its messages mean (`feeds.venues.tardis`), how a kept stretch becomes a recording (`feeds.importers`).
"""
