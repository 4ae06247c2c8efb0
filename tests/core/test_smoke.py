"""The shared core can be imported, by either Python."""


def test_the_core_can_be_imported():
    import gapcast_core
    from gapcast_core import container, gaps, options, wire

    assert gapcast_core.__name__ == "gapcast_core"
    assert container and gaps and options and wire
