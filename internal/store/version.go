package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// oldest returns the lowest supported patch of each minor line of etcd 3. Older ones
// have faults that lose or invent events.
func oldest() map[int]int { return map[int]int{5: 33, 6: 14, 7: 1} }

// Outdated says what to do about an etcd server of that version, in a sentence that
// begins with it; it returns "" if the version is supported, or newer than any known.
func Outdated(version string) string { return outdated(version, oldest()) }

func outdated(version string, oldest map[int]int) string {
	core, pre, _ := strings.Cut(version, "-")
	parts := strings.Split(core, ".")
	var numbers [3]int
	for i := range numbers {
		if i >= len(parts) {
			return ""
		}
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return ""
		}
		numbers[i] = n
	}
	major, minor, patch := numbers[0], numbers[1], numbers[2]
	least, line := oldest[minor]
	switch {
	case major > 3, major == 3 && minor > 7:
		return ""
	case major < 3, !line:
		return fmt.Sprintf("etcd %s is good for trying out only: use 3.5.33, 3.6.14, 3.7.1 or newer", version)
	case patch < least, patch == least && pre != "":
		return fmt.Sprintf("etcd %s is older than what is supported of its line: upgrade it to 3.%d.%d or newer", version, minor, least)
	}
	return ""
}

// ServerVersion asks the etcd server that is connected to for its version.
func (c *Client) ServerVersion(ctx context.Context) (string, error) {
	var version string
	err := c.call(ctx, "ask for the version", false, func(ctx context.Context, etcd *clientv3.Client) error {
		// Unlike clientv3's own, this asks on the connection that is there.
		resp, err := etcdserverpb.NewMaintenanceClient(etcd.ActiveConnection()).Status(ctx, &etcdserverpb.StatusRequest{})
		if err != nil {
			return err
		}
		version = resp.Version
		return nil
	})
	return version, err
}

// checkVersion warns of a server that is not supported, once for each version. That it
// cannot be asked is no matter: it is only for the log.
func (c *Client) checkVersion(ctx context.Context) {
	version, err := c.ServerVersion(ctx)
	if err != nil {
		return
	}
	c.mu.Lock()
	known := c.version == version
	c.version = version
	c.mu.Unlock()
	if known {
		return
	}
	if warning := outdated(version, c.oldest); warning != "" {
		c.cfg.Log.Warn("etcd is outdated", "endpoints", c.Endpoints(), "version", version, "reason", warning)
		return
	}
	c.cfg.Log.Debug("connected", "endpoints", c.Endpoints(), "version", version)
}
