package fleet

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/report"
)

// newInstance returns a word that no other process has.
func newInstance() string {
	var word [8]byte
	rand.Read(word[:]) // never fails, see crypto/rand
	return hex.EncodeToString(word[:])
}

// remember makes this process the last one of its host that this state directory knows, and
// returns the one before, "" if there was none. That one has ended: it held a lock. While
// another process holds it nothing is remembered, and both are seen to live.
//
// RACE: of two machines with copies of one state directory, the one that starts buries the
// other's sign of life. It comes back when that one looks for it, within about a minute.
func (r *Reporter) remember() (former string, err error) {
	if r.lock != nil || r.options.StateDir == "" {
		return "", nil
	}
	dir := filepath.Join(r.options.StateDir, "hosts")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.OpenFile(filepath.Join(dir, report.Key("host", r.options.Store.Base(), r.options.ID, "")), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return "", fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	b, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return "", err
	}
	if _, err := f.WriteAt([]byte(r.instance), 0); err != nil {
		return "", err
	}
	r.lock = f
	return string(b), nil
}
