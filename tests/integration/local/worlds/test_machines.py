"""What EC2 can rely on when it orders something of a machine."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from infra.local.linux.cgroups import Cgroup, hierarchies
from infra.local.machines.machines import MachineError
from infra.local.network.bridge import cable
from tests.integration.local.worlds.light import LightWorld, Machine, eventually

SERVER = "exec python3 -m http.server 8000"


def groups(machine: Machine) -> list[Path]:
    name = Cgroup.of(machine.light.world.place.group, machine.instance_id).name
    return [tree.mount / name for tree in hierarchies() if (tree.mount / name).exists()]


def cables(light: LightWorld) -> str:
    return light.inside.submit(lambda: str(socket.if_nameindex())).result()


def test_user_data_runs_as_root_at_the_first_boot_and_never_again(light: LightWorld) -> None:
    machine = light.machine("id -un; date +%N >> /etc/booted").start()
    assert machine.logs("user data ended with exit code 0")
    assert "root" in machine.log("cloud-init-output.log")
    machine.call("shutdown", grace_s=10)
    machine.start()
    assert machine.logs("run in an earlier life")
    assert len(machine.run("cat", "/etc/booted").splitlines()) == 1


def test_user_data_that_is_no_script_is_left_alone(light: LightWorld) -> None:
    machine = light.machine()
    machine.user_data = "touch /etc/executed"
    machine.start()
    assert machine.logs("no script in the user data")
    assert machine.run("ls", "/etc/regrow").strip() == "image.json"


def test_a_failing_script_is_told_with_its_exit_code(light: LightWorld) -> None:
    assert light.machine("exit 7").start().logs("user data ended with exit code 7")


def test_a_machines_console_can_be_read_after_its_end(light: LightWorld) -> None:
    machine = light.machine("echo could not join; exit 1").start()
    assert machine.logs("user data ended with exit code 1")
    machine.call("remove")
    whole = machine.call("console", most_bytes=65536)
    assert "could not join\n" in whole
    assert machine.call("console", most_bytes=10) == whole[-10:]
    assert light.machine().call("console", most_bytes=10) == ""


def test_a_killed_machine_ends_at_once_and_leaves_nothing_but_its_disk(light: LightWorld) -> None:
    machine = light.machine("echo kept > /etc/mark; setsid sleep 12345 & exec sleep 12345").start()
    eventually(lambda: "sleep" in machine.run("ps", "ax"))
    assert groups(machine)
    started_s = time.monotonic()
    machine.call("kill")
    assert time.monotonic() - started_s < 1
    assert not machine.runs
    assert groups(machine) == []
    assert cable(machine.instance_id) not in cables(light)
    assert (machine.place.written / "etc/mark").read_text() == "kept\n"
    machine.call("kill")  # nothing left to do is no error


def test_what_one_machine_stores_another_one_reaches_and_it_outlives_the_first(light: LightWorld) -> None:
    one, other = light.machine().start(), light.machine().start()
    one.run("sh", "-c", "echo kept > /opt/regrow/storage/mark")
    one.call("remove")
    assert other.run("cat", "/opt/regrow/storage/mark") == "kept\n"
    assert (light.world.place.storage / "mark").read_text() == "kept\n"


def test_shutdown_lets_every_program_end_in_order(light: LightWorld) -> None:
    machine = light.machine("trap 'echo goodbye > /etc/last; exit' TERM; echo armed; while :; do sleep 0.1; done")
    machine.start()
    assert machine.logs("armed")
    machine.call("shutdown", grace_s=10)
    assert not machine.runs
    assert (machine.place.written / "etc/last").read_text() == "goodbye\n"
    assert machine.logs("powered off")


def test_a_machine_can_be_told_to_end_from_its_first_moment(light: LightWorld) -> None:
    machine = light.machine().start()
    started_s = time.monotonic()
    machine.call("shutdown", grace_s=20)
    assert time.monotonic() - started_s < 5
    assert machine.logs("powered off")


def test_what_does_not_end_in_its_grace_is_killed(light: LightWorld) -> None:
    machine = light.machine("trap '' TERM; echo armed; while :; do sleep 0.1; done").start()
    assert machine.logs("armed")
    started_s = time.monotonic()
    machine.call("shutdown", grace_s=0.5)
    assert 0.5 <= time.monotonic() - started_s < 3
    assert not machine.runs


def test_kill_cuts_a_shutdown_short(light: LightWorld) -> None:
    machine = light.machine("trap '' TERM; echo armed; while :; do sleep 0.1; done").start()
    assert machine.logs("armed")
    ending = threading.Thread(target=machine.call, args=("shutdown",), kwargs={"grace_s": 30})
    ending.start()
    eventually(lambda: "shutting down" in machine.log())
    machine.call("kill")
    ending.join(timeout=2)
    assert not ending.is_alive()
    assert not machine.runs


def test_a_reboot_keeps_disk_and_address_and_starts_everything_anew(light: LightWorld) -> None:
    machine = light.machine("touch /etc/mark /run/mark").start()
    assert machine.logs("user data ended")
    first = machine.run("cat", "/proc/sys/kernel/random/boot_id")
    machine.call("reboot")
    assert machine.run("cat", "/proc/sys/kernel/random/boot_id") != first
    assert machine.run("ls", "/etc/mark").strip() == "/etc/mark"
    assert "mark" not in machine.run("ls", "/run")


def test_a_machine_that_powers_itself_off_is_not_running_and_can_be_started(light: LightWorld) -> None:
    machine = light.machine().start()
    assert machine.logs("no script")
    power_off = light.world.machine_command(machine.instance_id, ["systemctl", "poweroff"])
    subprocess.run(power_off, check=False)  # it may itself be ended before it can end well
    eventually(lambda: not machine.runs)
    assert groups(machine) == []
    machine.start()
    assert machine.runs


def test_a_removed_machine_has_no_disk_but_still_its_log(light: LightWorld) -> None:
    machine = light.machine("echo hello").start()
    assert machine.logs("hello")
    machine.call("remove")
    assert not machine.place.disk.exists()
    assert "hello" in machine.log()


def test_of_two_starts_at_once_one_wins_and_the_machine_is_whole(light: LightWorld) -> None:
    machine = light.machine(SERVER)
    outcomes: list[str] = []

    def start() -> None:
        try:
            machine.start()
            outcomes.append("started")
        except MachineError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [f"{machine.instance_id} runs already."] * 2 + ["started"]
    assert eventually(lambda: light.fetch(machine.address, 8000)) == 200


def test_a_cut_cable_lets_nothing_through_until_it_is_mended(light: LightWorld) -> None:
    machine = light.machine(SERVER).start()
    assert eventually(lambda: light.fetch(machine.address, 8000)) == 200
    machine.call("cut")
    assert light.fetch(machine.address, 8000, timeout_s=0.5) is None
    assert machine.runs
    machine.call("mend")
    assert eventually(lambda: light.fetch(machine.address, 8000, timeout_s=1)) == 200


def test_a_reboot_mends_no_cable_and_a_start_elsewhere_does(light: LightWorld) -> None:
    machine = light.machine().start()
    machine.call("cut")
    machine.call("reboot")
    assert machine.runs
    assert machine.instance_id not in light.call("reachable")
    assert light.fetch(machine.address, 22, timeout_s=0.5) is None
    machine.call("shutdown", grace_s=10)
    machine.start()
    assert machine.instance_id in light.call("reachable")


def test_a_frozen_machine_does_nothing_until_it_is_thawed(light: LightWorld) -> None:
    machine = light.machine(SERVER).start()
    assert eventually(lambda: light.fetch(machine.address, 8000)) == 200
    machine.call("freeze")
    assert light.fetch(machine.address, 8000, timeout_s=0.5) is None
    assert machine.runs
    machine.call("thaw")
    assert eventually(lambda: light.fetch(machine.address, 8000, timeout_s=1)) == 200


def test_a_frozen_machine_can_be_killed(light: LightWorld) -> None:
    machine = light.machine(SERVER).start()
    machine.call("freeze")
    started_s = time.monotonic()
    machine.call("kill")
    assert time.monotonic() - started_s < 1
    assert groups(machine) == []


def test_machines_reach_each_other_and_the_addresses_of_each_others_pods(light: LightWorld) -> None:
    one, other = light.machine().start(), light.machine(SERVER).start()
    assert eventually(lambda: light.fetch(other.address, 8000)) == 200
    # A pod's address, put where a pod network would put it.
    number = other.address.rsplit(".", 1)[1]
    other.run("python3", "-c", _ADD_TO_LOOPBACK.format(address=f"10.201.{number}.9"))
    fetch = f"import urllib.request as r; print(r.urlopen('http://10.201.{number}.9:8000', timeout=3).status)"
    assert one.run("python3", "-c", fetch).strip() == "200"


_ADD_TO_LOOPBACK = """
import fcntl, socket, struct
request = struct.pack("16sH2s4s8s", b"lo:1", socket.AF_INET, b"", socket.inet_aton("{address}"), b"")
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8916, request)
"""


def test_a_machine_sees_itself_alone(light: LightWorld) -> None:
    other = light.machine("exec sleep 54321").start()
    machine = light.machine().start()
    assert machine.run("hostname").strip() == f"host-{machine.instance_id}"
    assert "54321" not in machine.run("ps", "ax")
    state = str(light.world.place.state)
    assert other.instance_id not in machine.run("sh", "-c", f"ls -R {state} /root /home 2>&1 || true")
    assert machine.instance_id in machine.run("cat", "/etc/hosts")


@pytest.mark.parametrize("name", ["kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "vm/swappiness"])
def test_a_machine_cannot_change_the_hosts_kernel(light: LightWorld, name: str) -> None:
    setting = Path("/proc/sys", name)
    before = setting.read_text()
    machine = light.machine().start()
    machine.run("sh", "-c", f"! echo 3 > {setting}")
    assert setting.read_text() == before


def test_a_machine_can_change_the_settings_of_its_own_network(light: LightWorld) -> None:
    machine = light.machine().start()
    machine.run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
    assert machine.run("cat", "/proc/sys/net/ipv4/ip_forward").strip() == "0"


def test_a_command_runs_inside_from_the_side_of_aws_too(light: LightWorld) -> None:
    machine = light.machine().start()
    argv = machine.call("exec_command", argv=["hostname"])
    done = subprocess.run(light.world.command(argv), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"host-{machine.instance_id}"


@pytest.mark.parametrize("call", ["cut", "mend", "freeze", "thaw", "reboot"])
def test_what_needs_a_running_machine_says_that_it_does_not_run(light: LightWorld, call: str) -> None:
    with pytest.raises(MachineError, match="does not run"):
        light.machine().call(call)


def test_a_start_that_fails_says_why_and_leaves_nothing(light: LightWorld) -> None:
    machine = light.machine()
    machine.address = "10.77.200.1"  # has no pod subnet
    with pytest.raises(MachineError, match="has no pod subnet"):
        machine.start()
    assert groups(machine) == []
    assert cable(machine.instance_id) not in cables(light)
    machine.address = "10.77.1.250"
    assert machine.start().runs
