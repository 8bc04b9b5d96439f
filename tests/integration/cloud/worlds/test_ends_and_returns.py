"""What EC2 does to instances, by a person's order or its own, is done to the real machine behind each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from infra.local.drills import announcing, operating
from tests.integration.cloud.worlds.conftest import Site
from tests.integration.local.worlds.light import eventually

GOODBYE = (
    "date +%N >> /etc/booted; trap 'echo goodbye >> /etc/last; exit' TERM; echo armed; while :; do sleep 0.1; done"
)
HIBERNATING: dict[str, Any] = {
    "MarketType": "spot",
    "SpotOptions": {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "hibernate"},
}


def booted(site: Site, machine: str) -> int:
    """How often its user data has run."""
    return len((site.place(machine).written / "etc/booted").read_text().splitlines())


def said(site: Site, machine: str) -> str:
    file = site.place(machine).written / "etc/last"
    return file.read_text() if file.exists() else ""


def boot_id(site: Site, machine: str) -> str:
    return site.execute(machine, "cat", "/proc/sys/kernel/random/boot_id")


def test_a_stopped_machine_is_told_and_comes_back_with_its_disk_and_its_address(site: Site) -> None:
    machine = site.run(GOODBYE)
    address, first = site.instance(machine)["PrivateIpAddress"], boot_id(site, machine)
    site.ec2("stop_instances", InstanceIds=[machine])
    site.until(machine, "stopped")
    assert not site.place(machine).pid.exists()
    assert said(site, machine) == "goodbye\n"
    site.ec2("start_instances", InstanceIds=[machine])
    site.until(machine, "running")
    assert site.instance(machine)["PrivateIpAddress"] == address
    assert address in site.execute(machine, "ip", "-4", "addr")
    assert boot_id(site, machine) != first
    eventually(lambda: "run in an earlier life" in site.log(machine), within_s=60)
    assert booted(site, machine) == 1


def test_a_rebooted_machine_is_running_throughout_and_boots_anew(site: Site) -> None:
    machine = site.run(GOODBYE)
    first = boot_id(site, machine)
    site.ec2("reboot_instances", InstanceIds=[machine])
    eventually(lambda: "run in an earlier life" in site.log(machine), within_s=60)
    assert site.state(machine) == "running"
    assert boot_id(site, machine) != first
    assert said(site, machine) == "goodbye\n"


def test_an_interrupted_spot_machine_is_told_to_end_and_can_return(site: Site) -> None:
    machine = site.run(GOODBYE, InstanceMarketOptions=HIBERNATING)
    site.inside(announcing.interrupt, site.cluster, [machine])
    site.until(machine, "stopped")
    assert said(site, machine) == "goodbye\n"
    site.ec2("start_instances", InstanceIds=[machine])
    site.until(machine, "running")
    assert booted(site, machine) == 1


def test_maintenance_reboots_the_real_machines_when_it_is_time(site: Site) -> None:
    machines = [site.run(GOODBYE), site.run(GOODBYE)]
    first = [boot_id(site, machine) for machine in machines]
    site.inside(announcing.schedule, site.cluster, machines, "instance-reboot", datetime.now(UTC))
    eventually(lambda: all("run in an earlier life" in site.log(machine) for machine in machines), within_s=60)
    assert not {boot_id(site, machine) for machine in machines} & set(first)


def status(site: Site, machine: str) -> tuple[str, str]:
    """What EC2's checks of the system and of the instance say."""
    (found,) = site.ec2("describe_instance_status", InstanceIds=[machine])["InstanceStatuses"]
    return found["SystemStatus"]["Status"], found["InstanceStatus"]["Status"]


def test_a_host_that_dies_takes_everything_with_it_and_leaves_nothing_after_its_termination(site: Site) -> None:
    machine = site.run(GOODBYE)
    site.inside(operating.host_dies, site.cluster, machine)
    assert not site.place(machine).pid.exists()
    assert said(site, machine) == ""
    eventually(lambda: status(site, machine) == ("impaired", "impaired"))
    assert site.state(machine) == "running"
    site.ec2("terminate_instances", InstanceIds=[machine])
    site.until(machine, "terminated")
    eventually(lambda: not site.place(machine).disk.exists())


def test_a_machine_without_a_network_lives_on_until_it_is_mended_and_a_reboot_does_not_mend_it(site: Site) -> None:
    machine = site.run(GOODBYE)
    first = boot_id(site, machine)
    site.inside(operating.network_fails, site.cluster, machine)
    eventually(lambda: status(site, machine) == ("ok", "impaired"))
    assert boot_id(site, machine) == first
    site.ec2("reboot_instances", InstanceIds=[machine])
    eventually(lambda: site.log(machine).count("ready for cloud-init") == 2, within_s=60)
    assert boot_id(site, machine) != first
    assert status(site, machine) == ("ok", "impaired")
    site.inside(operating.host_is_mended, site.cluster, machine)
    eventually(lambda: status(site, machine) == ("ok", "ok"))
