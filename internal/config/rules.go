package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/bmatcuk/doublestar/v4"
)

// largestFile is the most that max_file_size may be, in bytes: publisher and
// agents hold one whole file in memory to hash, patch and verify it.
const largestFile = 64 << 20

// optional lets the empty string pass.
func optional(ok rule[string]) rule[string] {
	return func(s string) error {
		if s == "" {
			return nil
		}
		return ok(s)
	}
}

func oneOf(allowed ...string) rule[string] {
	return func(s string) error {
		quoted := make([]string, len(allowed))
		for i, a := range allowed {
			if s == a {
				return nil
			}
			quoted[i] = strconv.Quote(a)
		}
		remedy := "write " + quoted[0]
		if len(quoted) > 1 {
			remedy = "write one of " + strings.Join(quoted, ", ")
		}
		return fault(remedy, "%s is not known", clip(s))
	}
}

// TenantName returns an error unless s can be the name of a tenant. It is a Fault.
func TenantName(s string) error { return label(s, "tenant", "prod") }

func channelName(s string) error { return label(s, "channel", "main") }

// label is the rule of names that are parts of keys in etcd, or look like such.
func label(s, of, example string) error {
	remedy := fmt.Sprintf("use 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit, such as %q", example)
	if s == "" {
		return fault(fmt.Sprintf("write a name such as %q", example), "is missing")
	}
	for i := range len(s) {
		c := s[i]
		alphanumeric := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !alphanumeric && (i == 0 || !strings.ContainsRune("._-", rune(c))) {
			return fault(remedy, "%s is no %s name", clip(s), of)
		}
	}
	if len(s) > 63 {
		return fault(remedy, "%s has %d characters", clip(s), len(s))
	}
	return nil
}

func directory(s string) error {
	const remedy = `write an absolute path such as "/srv/config/prod"`
	switch {
	case s == "":
		return fault(remedy, "is missing")
	case !filepath.IsAbs(s):
		return fault(remedy, "%s is a relative path", clip(s))
	case strings.ContainsRune(s, 0):
		return fault(remedy, "%s holds a NUL byte", clip(s))
	case filepath.Clean(s) == "/":
		return fault("name a directory below it", "%s is the whole file system", clip(s))
	}
	return nil
}

// cleanDir returns the normal form of an absolute path, and others unchanged.
func cleanDir(s string) string {
	if filepath.IsAbs(s) {
		return filepath.Clean(s)
	}
	return s
}

func absoluteFile(s string) error {
	if !filepath.IsAbs(s) || strings.ContainsRune(s, 0) {
		return fault(`write an absolute path such as "/etc/confsyncd/ca.pem"`, "%s is no absolute path", clip(s))
	}
	return nil
}

// secretFile is absoluteFile for keys into which a password may have been
// written by mistake: it never shows the value.
func secretFile(s string) error {
	if absoluteFile(s) != nil {
		return fault(`write the absolute path of a file that holds the password, such as "/etc/confsyncd/password"`,
			"the value (not shown) is no absolute path")
	}
	return nil
}

func userName(s string) error {
	if strings.Contains(s, ":") {
		return fault("write the name alone, the password into a file, and that file's path into password_file",
			"the value (not shown) holds a colon, and perhaps a password")
	}
	return printable(s)
}

func printable(s string) error {
	if strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) || strings.TrimSpace(s) != s || len(s) > 255 {
		return fault("use at most 255 visible characters, without spaces around them", "%s is no name", clip(s))
	}
	return nil
}

func endpoint(s string) error {
	const remedy = `write a URL with host and port, such as "https://etcd-1:2379"`
	switch {
	case strings.Contains(s, "@"):
		return fault("leave the user out, and use username and password_file", "the URL (not shown) holds a user name or password")
	case s == "":
		return fault(remedy, "is empty")
	case !strings.Contains(s, "://"):
		return fault(`put "https://" before it, or "http://" for etcd without TLS`, "%s has no scheme", clip(s))
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fault(remedy, "%s is no URL", clip(s))
	case u.Scheme != "http" && u.Scheme != "https":
		return fault(remedy, "%s has the unknown scheme %s", clip(s), clip(u.Scheme))
	case u.Hostname() == "":
		return fault(remedy, "%s has no host", clip(s))
	case strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return fault("end it after the port; the key prefix has its own key, prefix", "%s has a path or query", clip(s))
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
		return fault("write host and port; etcd's own is 2379", "%s has no valid port", clip(s))
	}
	return nil
}

// listenAddress takes a host, which may be left out, and a port; 0 is any that is free.
func listenAddress(s string) error {
	const remedy = `write host and port, such as "127.0.0.1:9464", or "0.0.0.0:9464" for all interfaces`
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fault(remedy, "%s is no address with host and port", clip(s))
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fault(remedy, "%s has no valid port", clip(s))
	}
	address, _, _ := strings.Cut(host, "%") // a zone
	name := strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") == ""
	if !name && net.ParseIP(address) == nil {
		return fault(remedy, "%s has no valid host", clip(s))
	}
	return nil
}

// withHost has an address that names no host mean this machine alone.
func withHost(address string) string {
	if strings.HasPrefix(address, ":") {
		return "127.0.0.1" + address
	}
	return address
}

func keyPrefix(s string) error {
	const remedy = `write a prefix such as "/confsyncd"`
	switch {
	case !strings.HasPrefix(s, "/"):
		return fault(remedy, "%s does not begin with a slash", clip(s))
	case strings.HasSuffix(s, "/"):
		return fault(remedy+", without a slash at its end", "%s ends with a slash", clip(s))
	case strings.Contains(s, "@"):
		return fault(remedy, `%s holds "@", which marks confsyncd's own keys`, clip(s))
	case relativePath(s[1:]) != nil || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsGraphic(c) || unicode.IsSpace(c) }):
		return fault(remedy, "%s has an empty or odd component", clip(s))
	}
	return nil
}

func atLeast(least time.Duration) rule[time.Duration] {
	return func(d time.Duration) error {
		switch {
		case d < 0:
			return fault(fmt.Sprintf("write %q or more", least), "%s is negative", d)
		case d < least:
			return fault(fmt.Sprintf("write %q or more", least), "%s is too short", d)
		}
		return nil
	}
}

// leaseTime refuses what etcd would not keep: with its own default timing it makes
// shorter leases 2 s long, and it counts whole seconds.
func leaseTime(d time.Duration) error {
	if d < 2*time.Second || d > 5*time.Minute || d%time.Second != 0 {
		return fault(`write whole seconds from "2s" to "5m"`, "%s is no time to wait for a sign of life", d)
	}
	return nil
}

// generations refuses to keep nothing.
func generations(n int) error {
	if n < 1 {
		return fault("write 1 or more", "%d generations would leave nothing", n)
	}
	return nil
}

// sweepTime refuses to read the history all the time.
func sweepTime(d time.Duration) error {
	if d != 0 && d < time.Second {
		return fault(`write "1s" or more, or "0s" for never`, "%s is too short", d)
	}
	return nil
}

func fileSize(n int64) error {
	if n < 1 || n > largestFile {
		return fault(`write a size from "1B" to "64MiB"`,
			"%s is out of range: publisher and agents hold a whole file in memory", sizeText(n))
	}
	return nil
}

func share(f float64) error {
	if f >= 0 && f <= 1 {
		return nil
	}
	return fault(`write "0%" to "100%"`, "%g%% is no share of the tree", f*100)
}

func permissions(m *uint32) error {
	const remedy = `write permission bits alone, such as "0644"`
	switch {
	case m == nil || *m <= 0o777:
		return nil
	case *m > 0o7777:
		return fault(remedy, "%#o is no file mode", *m)
	case *m&0o6000 != 0:
		return fault(remedy, "%#o holds the setuid or setgid bit, which is never set", *m)
	}
	return fault(remedy, "%#o holds the sticky bit, which is never set", *m)
}

func relativePath(s string) error {
	const remedy = `write a path below the directory, such as ".git/index.lock"`
	if s == "" || strings.ContainsRune(s, 0) || strings.HasPrefix(s, "/") {
		return fault(remedy, "%s is no relative path", clip(s))
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." || len(part) > 255 {
			return fault(remedy, "%s has the component %s", clip(s), clip(part))
		}
	}
	return nil
}

// withSlash ends a prefix with one slash.
func withSlash(s string) string {
	if s == "" || strings.HasSuffix(s, "/") {
		return s
	}
	return s + "/"
}

func stripPrefix(s string) error {
	if relativePath(strings.TrimSuffix(s, "/")) != nil {
		return fault(`write a directory relative to the tenant's root, such as "nginx/"`, "%s is no relative directory", clip(s))
	}
	return nil
}

func pathPattern(s string) error {
	const remedy = `write a pattern relative to the tenant's root, such as "nginx/**"`
	switch {
	case s == "":
		return fault(remedy, "is empty")
	case strings.HasPrefix(s, "/"):
		return fault(remedy, "%s is absolute", clip(s))
	case strings.HasSuffix(s, "/"):
		return fault(fmt.Sprintf("write %q", s+"**"), "%s ends with a slash and selects nothing", clip(s))
	case !doublestar.ValidatePattern(s):
		return fault(remedy, "%s is no valid pattern", clip(s))
	}
	return patternComponents(s)
}

func ignorePattern(s string) error {
	const remedy = `write a pattern such as "*.bak", or ".git/" for a directory`
	switch {
	case strings.Trim(s, "/") == "":
		return fault(remedy, "%s is empty", clip(s))
	case !doublestar.ValidatePattern(s):
		return fault(remedy, "%s is no valid pattern", clip(s))
	}
	return patternComponents(strings.Trim(s, "/"))
}

// patternComponents refuses what no path has: empty components, "." and "..",
// inside braces too.
func patternComponents(s string) error {
	for part := range strings.SplitSeq(s, "/") {
		if part == "" {
			return fault("write single slashes", "%s has an empty component", clip(s))
		}
	}
	for _, part := range strings.FieldsFunc(s, func(c rune) bool { return strings.ContainsRune("/{},", c) }) {
		if part == "." || part == ".." {
			return fault("leave it out: patterns stay inside the tree", "%s has the component %s", clip(s), clip(part))
		}
	}
	return nil
}

// literalHead returns the part of a pattern before its first wildcard, with
// its escapes resolved.
func literalHead(pattern string) string {
	var head strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '*', '?', '[', '{':
			return head.String()
		case '\\':
			i++
		}
		if i < len(pattern) {
			head.WriteByte(pattern[i])
		}
	}
	return head.String()
}
