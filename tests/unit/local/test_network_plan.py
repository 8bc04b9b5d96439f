from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.network.plan import VPC, AddressError, mac, pod_subnet

addresses = st.builds(lambda x, y: IPv4Address(f"10.77.{x}.{y}"), st.integers(0, 3), st.integers(0, 255))


def test_pods_live_where_the_machines_address_says() -> None:
    assert str(pod_subnet(IPv4Address("10.77.2.31"))) == "10.202.31.0/24"


@given(addresses, addresses)
def test_no_two_machines_share_pod_or_hardware_addresses(one: IPv4Address, other: IPv4Address) -> None:
    if one != other:
        assert not pod_subnet(one).overlaps(pod_subnet(other))
        assert mac(one) != mac(other)


@given(addresses)
def test_pods_are_never_in_the_network_of_the_machines(address: IPv4Address) -> None:
    assert not pod_subnet(address).overlaps(VPC)


@pytest.mark.parametrize("address", ["10.76.1.1", "10.77.4.1", "192.168.1.1"])
def test_an_address_without_room_for_pods_is_refused(address: str) -> None:
    with pytest.raises(AddressError, match=address):
        pod_subnet(IPv4Address(address))
