// Package report keeps what daemons and one-shot commands say about the sources and
// targets of this machine, where "confsyncd status" finds it: one small JSON file
// each, in state_dir. Any number of processes may share a state_dir.
//
// Reports are for people. Nothing is decided by them: what a target is at stands in
// its own journal.
package report

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The roles of a directory.
const (
	Source = "source"
	Target = "target"
)

// Report is what is known of one source or target.
type Report struct {
	Role   string `json:"role"` // Source or Target
	Prefix string `json:"prefix"`
	Tenant string `json:"tenant"`
	Dir    string `json:"dir"`
	// State is one word: "live", "beside", "standby", "holding", "in_sync", "waiting" …
	State string `json:"state"`
	// Reason says what it waits for and what to do about it; empty if all is well.
	Reason string `json:"reason,omitempty"`
	// Held lists paths that are not published, with their reasons; the first of them.
	Held []string `json:"held,omitempty"`
	// Apart lists paths of a source's directory that differ from the head, since others have
	// committed beside it; the first of ApartTotal.
	Apart      []string `json:"apart,omitempty"`
	ApartTotal int      `json:"apart_total,omitempty"`
	// Drift lists paths of a target that are not as they were published, with how they
	// differ; the first of DriftTotal.
	Drift      []string `json:"drift,omitempty"`
	DriftTotal int      `json:"drift_total,omitempty"`
	// PID is the process that wrote the report; that it runs is not said.
	PID int `json:"pid"`
	// Time is when it came to the state.
	Time time.Time `json:"time"`
}

// dirName is the directory in state_dir that holds the reports.
const dirName = "reports"

// maxReport bounds a report that is read, in bytes: far more than any has.
const maxReport = 4 << 20

// Key names a source or target among all: it is the same for the same role, prefix,
// tenant and directory.
func Key(role, prefix, tenant, dir string) string {
	h := sha256.Sum256([]byte(strings.Join([]string{role, prefix, tenant, dir}, "\x00")))
	return hex.EncodeToString(h[:8])
}

// Write stores r in place of the last report on the same directory. PID is filled in,
// and Time if it is zero.
func Write(stateDir string, r Report) error {
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	r.Time, r.PID = r.Time.UTC().Truncate(time.Millisecond), os.Getpid()
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	dir := filepath.Join(stateDir, dirName)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, Key(r.Role, r.Prefix, r.Tenant, r.Dir)+".json"))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("report: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// Read returns all reports in stateDir, in no particular order. A state_dir without
// any is no error; reports that cannot be read are left out and returned as errors.
func Read(stateDir string) ([]Report, error) {
	dir := filepath.Join(stateDir, dirName)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read reports: %w", err)
	}
	var reports []Report
	var errs []error
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		r, err := readFile(filepath.Join(dir, e.Name()))
		if err != nil {
			errs = append(errs, fmt.Errorf("read report %s: %w", e.Name(), err))
			continue
		}
		reports = append(reports, r)
	}
	return reports, errors.Join(errs...)
}

// readFile reads one report. Others may write in the directory: what is no regular file,
// or larger than any report, is not read.
func readFile(path string) (Report, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return Report{}, err
	}
	defer f.Close() //nolint:errcheck // Nothing was written.
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return Report{}, errors.Join(errors.New("it is no regular file"), err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxReport+1))
	if err != nil {
		return Report{}, err
	}
	if len(b) > maxReport {
		return Report{}, fmt.Errorf("it has more than %d bytes", maxReport)
	}
	return decode(b)
}

func decode(b []byte) (r Report, err error) {
	err = json.Unmarshal(b, &r)
	return r, err
}

// Remove deletes the reports on a directory, of any tenant and prefix, and returns how many
// there were.
func Remove(stateDir, role, dir string) (int, error) {
	reports, err := Read(stateDir)
	if err != nil && len(reports) == 0 {
		return 0, err
	}
	removed := 0
	for _, r := range reports {
		if r.Role != role || r.Dir != dir {
			continue
		}
		err := os.Remove(filepath.Join(stateDir, dirName, Key(r.Role, r.Prefix, r.Tenant, r.Dir)+".json"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, fmt.Errorf("remove the report: %w", err)
		}
		removed++
	}
	return removed, nil
}
