"""The programs of a world's machines, built from their Go modules.

`python -m infra.local.building.build` prints the directory that holds them: Kubernetes and etcd (one binary under many
names), containerd, runc, the CNI plugins, a CSI driver with the external-attacher, pause, and `image.tar`, the image
that machines import at boot.
Each program is a Go module in `programs/`, because containerd and Kubernetes need different versions
of the same libraries; go.mod pins the versions and go.sum their contents. What is built lies in
the cache under a key of everything it depends on, so that a checkout with nothing new builds nothing.
"""

import hashlib
import shutil
import sys
from pathlib import Path

from infra.local.building import image, toolchain
from infra.local.building.cache import cache_root, make_once
from infra.local.building.compiling import Target, compile_target
from infra.local.building.tools import SetupError
from infra.local.progress import Progress

SOURCES = Path(__file__).parents[1] / "programs"
KUBERNETES_VERSION = "v1.36.3"
CONTAINERD_VERSION = "v2.2.9"
ATTACHER_VERSION = "v4.13.0"
KUBE_NAMES = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kubeadm",
    "kubectl",
    "etcd",
    "etcdctl",
    "etcdutl",
)

_CONTAINERD = "github.com/containerd/containerd/v2"
_ATTACHER = "github.com/kubernetes-csi/external-attacher/v4/cmd/csi-attacher"
_PLUGINS = "github.com/containernetworking/plugins/plugins"
_KUBE_VERSION = "k8s.io/component-base/version"
_MAJOR, _MINOR, _ = KUBERNETES_VERSION.removeprefix("v").split(".")

# The longest comes last, so that whatever is amiss with the compilers shows in the first minute.
TARGETS = (
    Target("pause"),
    Target("runc"),
    Target("runc", ("github.com/opencontainers/runc",), renamed="runc.real", cgo=True),
    Target("cni", (f"{_PLUGINS}/main/bridge", f"{_PLUGINS}/main/loopback", f"{_PLUGINS}/ipam/host-local")),
    Target(
        "containerd",
        tuple(f"{_CONTAINERD}/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")),
        variables=(f"{_CONTAINERD}/version.Version={CONTAINERD_VERSION}",),
    ),
    Target("csi", (".", _ATTACHER), variables=(f"main.version={ATTACHER_VERSION}",)),
    Target(
        "kubernetes",
        # kubeadm refuses to install a cluster when it does not know its own version.
        variables=(
            f"{_KUBE_VERSION}.gitVersion={KUBERNETES_VERSION}",
            f"{_KUBE_VERSION}.gitMajor={_MAJOR}",
            f"{_KUBE_VERSION}.gitMinor={_MINOR}",
            f"{_KUBE_VERSION}.gitTreeState=clean",
        ),
    ),
)


def build(progress: Progress | None = None) -> Path:
    """Return the directory of the programs, building them first when this checkout's are not in the cache."""
    progress = progress or Progress()
    directory = directory_of(programs_key())
    return make_once(directory, lambda partial: _make(partial, progress), progress) / "bin"


def is_built() -> bool:
    """Whether `build` would return at once."""
    return directory_of(programs_key()).is_dir()


def directory_of(key: str) -> Path:
    return cache_root() / "programs" / key


def programs_key(sources: Path = SOURCES) -> str:
    """A digest of all that the programs depend on: their modules, the way they are built and packed."""
    digest = hashlib.sha256(repr((TARGETS, KUBE_NAMES, toolchain.GO_SERIES)).encode())
    files = (path for path in sources.rglob("*") if path.suffix == ".go" or path.name in ("go.mod", "go.sum"))
    for path in [*sorted(files), Path(image.__file__)]:
        digest.update(f"\0{path.name}\0".encode() + path.parent.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _make(directory: Path, progress: Progress) -> None:
    binaries, temporary = directory / "bin", directory / "tmp"
    binaries.mkdir()
    temporary.mkdir()
    go = toolchain.find_go(progress)
    environment = toolchain.go_environment(go, temporary)
    environment["CC"] = str(toolchain.find_c_compiler(progress))
    for number, target in enumerate(TARGETS, 1):
        progress.say(f"[{number}/{len(TARGETS)}] {target.name}")
        compile_target(target, SOURCES, binaries, environment, progress)
    for name in KUBE_NAMES:
        (binaries / name).symlink_to("kube")
    progress.say("Packing the image.")
    names = image.image_names(binaries / "kubeadm", KUBERNETES_VERSION)
    image.write_image(binaries / "image.tar", binaries, names)
    shutil.rmtree(temporary)


def main() -> int:
    try:
        print(build())
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. The next run goes on where this one stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
