package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// storage is a directory that every machine of a world reaches, as every instance of a zone reaches its volumes:
//
//	VOLUME/data         what a pod sees of it
//	VOLUME/attached-to  a link that names the one instance that has the volume; none has it when there is no link
//
// A link is made with its contents and only where none is, so one volume never has two instances. Unlike EBS, which lets
// go by itself of an instance that has terminated, a volume stays attached until somebody asks for its detachment:
// nothing that is found out on such a world rests on the storage's help.
type storage struct{ root string }

var (
	errNoVolume = errors.New("no such volume")
	errInUse    = errors.New("attached to another instance")
)

func (s storage) attach(volume, instance string) error {
	if _, err := s.data(volume); err != nil {
		return err
	}
	err := os.Symlink(instance, s.link(volume))
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	has, err := s.attachedTo(volume)
	if err == nil && has != instance {
		err = fmt.Errorf("%w: %s is attached to %q, not to %s", errInUse, volume, has, instance)
	}
	return err
}

// detach is done when the instance does not have the volume. An empty instance stands for any.
func (s storage) detach(volume, instance string) error {
	has, err := s.attachedTo(volume)
	if err != nil || has == "" || (instance != "" && has != instance) {
		return err
	}
	return os.Remove(s.link(volume))
}

// attachedTo is empty when no instance has the volume.
func (s storage) attachedTo(volume string) (string, error) {
	instance, err := os.Readlink(s.link(volume))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return instance, err
}

func (s storage) data(volume string) (string, error) {
	if volume == "" || strings.ContainsAny(volume, "/.") {
		return "", fmt.Errorf("%w: %q", errNoVolume, volume)
	}
	path := filepath.Join(s.root, volume, "data")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: %w", errNoVolume, err)
	}
	return path, nil
}

func (s storage) link(volume string) string {
	return filepath.Join(s.root, volume, "attached-to")
}
