package lab

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// Ledger knows every version of every file that was ever put into a source. A version
// has a number of its own, which its content tells.
type Ledger struct {
	mu       sync.Mutex
	versions map[uint64]*version
	plain    map[plain]bool
}

// plain is a version whose content tells no number.
type plain struct {
	path string
	mode uint32
	sum  [sha256.Size]byte
}

// version is what a number was ever paired with: a rename gives it another path, a
// chmod another mode.
type version struct {
	paths map[string]bool
	modes map[uint32]bool // of files; none for a symlink
}

// NewLedger returns a ledger that knows nothing yet.
func NewLedger() *Ledger {
	return &Ledger{versions: make(map[uint64]*version), plain: make(map[plain]bool)}
}

// Allow notes that any content may be seen there from now on: what others write, who
// know nothing of numbers.
func (l *Ledger) Allow(path string, mode uint32, content string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plain[plain{path, mode, sha256.Sum256([]byte(content))}] = true
}

func (l *Ledger) allowed(path string, mode uint32, content string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.plain[plain{path, mode, sha256.Sum256([]byte(content))}]
}

// Mode notes that the version may be seen with it from now on.
func (l *Ledger) Mode(number uint64, mode uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.version(number).modes[mode] = true
}

// Path notes that the version may be seen there from now on.
func (l *Ledger) Path(number uint64, path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.version(number).paths[path] = true
}

func (l *Ledger) version(number uint64) *version {
	v := l.versions[number]
	if v == nil {
		v = &version{paths: make(map[string]bool), modes: make(map[uint32]bool)}
		l.versions[number] = v
	}
	return v
}

// CheckFile tells what is wrong with a file that was read, nil if nothing is.
func (l *Ledger) CheckFile(path string, mode uint32, content string) error {
	if l.allowed(path, mode, content) {
		return nil
	}
	number, ok := Parse(content)
	if !ok {
		return fmt.Errorf("%s is not intact: %d bytes, beginning with %.60q", path, len(content), content)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.versions[number]
	switch {
	case v == nil || len(v.modes) == 0:
		return fmt.Errorf("%s has number %d, which was never written", path, number)
	case !v.paths[path]:
		return fmt.Errorf("%s has number %d, which was only at %v", path, number, v.paths)
	case !v.modes[mode]:
		return fmt.Errorf("%s has mode %d with number %d, which only had %v", path, mode, number, v.modes)
	}
	return nil
}

// CheckLink does the same for a symlink.
func (l *Ledger) CheckLink(path, to string) error {
	if l.allowed(path, 0, to) {
		return nil
	}
	number, err := strconv.ParseUint(strings.TrimPrefix(to, linkPrefix), 10, 64)
	l.mu.Lock()
	defer l.mu.Unlock()
	if v := l.versions[number]; err != nil || v == nil || len(v.modes) > 0 || !v.paths[path] {
		return fmt.Errorf("%s points to %q, which was never written there", path, to)
	}
	return nil
}

// linkPrefix is what a symlink's target begins with; its number follows.
const linkPrefix = "nowhere/"

const sumPrefix = "sum = "

// Secret stands in every content: where it is seen, contents are seen.
const Secret = "s3cr3t-c0nt3nt"

// Compose makes the content of a version: its number, the path and mode that it was
// made with, as many bytes of filling or a few more, and a checksum over all that.
func Compose(number uint64, path string, mode uint32, filling int) string {
	var b strings.Builder
	for i := 0; b.Len() < filling; i++ {
		fmt.Fprintf(&b, "option_%d = %d\n", i, number*2654435761+uint64(i)*40503)
	}
	return compose(number, path, mode, b.String())
}

// compose makes the content of a version around any filling.
func compose(number uint64, path string, mode uint32, filling string) string {
	body := fmt.Sprintf("number = %d\npath = %q\nmode = %04o\npassword = %s-%d\n%s\n", number, path, mode, Secret, number, filling)
	return fmt.Sprintf("%s%s%x\n", body, sumPrefix, sha256.Sum256([]byte(body)))
}

// Parse returns the number of an intact content.
func Parse(content string) (number uint64, ok bool) {
	body, sum, found := strings.Cut(content, sumPrefix)
	if !found || sum != fmt.Sprintf("%x\n", sha256.Sum256([]byte(body))) {
		return 0, false
	}
	line, _, _ := strings.Cut(strings.TrimPrefix(body, "number = "), "\n")
	number, err := strconv.ParseUint(line, 10, 64)
	return number, err == nil
}
