"""The shared core can be imported, by either Python."""


def test_the_core_can_be_imported():
    import gapcast_core
    from gapcast_core import container, gaps, options, wire

    for module in (container, gaps, options, wire):
        assert module.__name__.startswith(gapcast_core.__name__)
