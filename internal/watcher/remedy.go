package watcher

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// remedy says what makes watches available again, to follow a message.
func remedy(err error) string {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return "; " + raise("fs.inotify.max_user_watches", "user.max_inotify_watches", 1<<19)
	case errors.Is(err, unix.EMFILE):
		return "; " + raise("fs.inotify.max_user_instances", "user.max_inotify_instances", 1<<10) + ", or the limit of open files"
	}
	return ""
}

// raise returns the command that raises the lower one of two sysctls, to twice its
// value and at least to least. Within a user namespace that is often its own.
func raise(host, namespace string, least int) string {
	name, value := host, sysctl(host)
	if v := sysctl(namespace); v >= 0 && (v < value || value < 0) {
		name, value = namespace, v
	}
	return fmt.Sprintf(`raise the limit with "sysctl %s=%d"`, name, max(least, 2*value))
}

// sysctl returns the value of a sysctl, -1 if it is not to be had.
func sysctl(name string) int {
	b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return -1
	}
	return n
}
