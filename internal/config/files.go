package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
)

// CheckFiles returns what this host lacks of what the configuration names, and
// nil if there is nothing: files of certificates, keys and passwords that are
// missing or no regular files, owners and groups that are neither numbers nor
// known names. Directories are left to publisher and agent, which wait for them.
func (c *Config) CheckFiles() Faults {
	var faults Faults
	for _, f := range []struct{ key, path string }{
		{"etcd.ca_file", c.Etcd.CAFile},
		{"etcd.cert_file", c.Etcd.CertFile},
		{"etcd.key_file", c.Etcd.KeyFile},
		{"etcd.password_file", c.Etcd.PasswordFile},
	} {
		faults = append(faults, faultsOf(f.key, regularFile(f.key, f.path))...)
	}
	for i, t := range c.Targets {
		at := index("target", i)
		faults = append(faults, faultsOf(at+".owner", account("user", t.Owner, lookupUser))...)
		faults = append(faults, faultsOf(at+".group", account("group", t.Group, lookupGroup))...)
	}
	return c.placed(faults)
}

func regularFile(key, path string) error {
	if path == "" {
		return nil
	}
	shown := clip(path)
	if secret(key) {
		shown = "the file (name not shown)"
	}
	info, err := os.Stat(path)
	var pathErr *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault("create it, or correct the path", "%s does not exist", shown)
	case errors.As(err, &pathErr):
		return fault("make it reachable for the user that runs confsyncd", "%s: %v", shown, pathErr.Err)
	case !info.Mode().IsRegular():
		return fault("name a regular file", "%s is no regular file", shown)
	}
	return nil
}

// account passes numbers and the names that lookup knows.
func account(kind, name string, lookup func(string) error) error {
	if name == "" {
		return nil
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		// chown(2) takes the highest number as "leave unchanged".
		if n == 1<<32-1 {
			return fault("write another number", "%s stands for no %s", clip(name), kind)
		}
		return nil
	}
	if lookup(name) != nil {
		return fault(fmt.Sprintf("create the %s on this host, or write its name or number", kind), "%s is no known %s", clip(name), kind)
	}
	return nil
}

func lookupUser(name string) error {
	_, err := user.Lookup(name)
	return err
}

func lookupGroup(name string) error {
	_, err := user.LookupGroup(name)
	return err
}

// Ownership returns the numbers of the target's owner and group, -1 where none is
// set. The error is a Fault.
func (t Target) Ownership() (uid, gid int, err error) {
	if uid, err = number(t.Owner, "owner", func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	}); err != nil {
		return -1, -1, err
	}
	gid, err = number(t.Group, "group", func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
	return uid, gid, err
}

func number(name, key string, lookup func(string) (string, error)) (int, error) {
	if name == "" {
		return -1, nil
	}
	text := name
	if _, err := strconv.ParseUint(name, 10, 32); err != nil {
		if text, err = lookup(name); err != nil {
			return -1, Fault{Key: key, Problem: clip(name) + " is not known on this host", Remedy: "create it, or write its number"}
		}
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1, Fault{Key: key, Problem: clip(name) + " is no number", Remedy: "write its number"}
	}
	return n, nil
}
