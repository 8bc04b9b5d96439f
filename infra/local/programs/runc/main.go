// Stands in front of runc (runc.real, beside it) and takes the seccomp profile out of a container's configuration.
//
// Kubernetes asks for the RuntimeDefault profile, and runc refuses any profile when it was built without libseccomp,
// which would be one more thing to have on every machine that builds this. The containers of a local world
// run only what the world brought itself, so they can do without.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "runc wrapper:", err)
		os.Exit(1)
	}
}

func run() error {
	if bundle := bundleOf(os.Args[1:]); bundle != "" {
		if err := dropSeccomp(filepath.Join(bundle, "config.json")); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	real := filepath.Join(filepath.Dir(self), "runc.real")
	err = syscall.Exec(real, append([]string{"runc"}, os.Args[1:]...), os.Environ())
	return fmt.Errorf("cannot start %s: %w", real, err)
}

// bundleOf finds the value of --bundle, which containerd always gives when a container is created.
func bundleOf(args []string) string {
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--bundle="); ok {
			return value
		}
		if (arg == "--bundle" || arg == "-b") && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

// dropSeccomp rewrites the file without linux.seccomp. All other values stay as their text, so that
// numbers too large for a float survive.
func dropSeccomp(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var config, linux map[string]json.RawMessage
	if err := json.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if config["linux"] == nil {
		return nil
	}
	if err := json.Unmarshal(config["linux"], &linux); err != nil {
		return fmt.Errorf("%s: linux: %w", path, err)
	}
	if _, present := linux["seccomp"]; !present {
		return nil
	}
	delete(linux, "seccomp")
	if config["linux"], err = json.Marshal(linux); err != nil {
		return err
	}
	if text, err = json.Marshal(config); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}
