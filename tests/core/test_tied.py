from pomona.core.tied import twins


def test_twins_name_the_first_of_each_shared_object():
    a, b, c = object(), object(), object()
    named = [("a", a), ("b", b), ("again.a", a), ("c", c), ("more.a", a), ("again.b", b)]
    assert twins(named) == {"again.a": "a", "more.a": "a", "again.b": "b"}
    assert twins([("a", a), ("b", b)]) == {}
    assert twins([]) == {}


def test_equal_values_are_no_twins_and_short_lived_objects_are_told_apart():
    assert twins([("a", [1]), ("b", [1])]) == {}
    assert twins((str(i), [i]) for i in range(1000)) == {}
