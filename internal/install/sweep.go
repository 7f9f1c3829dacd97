package install

import (
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confsyncd/confsyncd/internal/diff"
)

// How long, and up to how many bytes in all, kept files stay.
const (
	keptAge  = 30 * 24 * time.Hour
	keptSize = 64 << 20
)

// sweep empties the stage and drops kept files that are too old or too many, but
// none that the apply in hand, if any, has just kept; the newest are never too many.
// What cannot be swept now is another time.
//
// The kept files are measured only where they can have become more: at Open, and
// when some were kept.
func (t *Target) sweep(hand *keeper, opening bool) {
	err := t.sweepKept(hand, opening || hand != nil)
	if !t.swept {
		fd, open := t.openStage()
		if open == nil {
			open = t.sweepStage(fd)
			closeFD(fd)
		}
		t.swept = open == nil
		err = errors.Join(err, open)
	}
	if err != nil {
		t.o.Log.Warn("not everything could be swept", "path", t.o.Dir, "error", err)
	}
}

// sweepStage empties the stage. A directory in it that is not empty holds what
// others put there while it was a managed one, and is kept.
func (t *Target) sweepStage(fd int) error {
	sw := &sweeper{t: t}
	return sw.sweep(fd, t.sideName()+"/"+stageName)
}

// sweeper empties a stage.
type sweeper struct {
	t *Target
	k *keeper
}

// sweep empties the stage, or a shelf, that is open as fd.
func (s *sweeper) sweep(fd int, path string) error {
	list, err := names(fd)
	if err != nil {
		return s.t.fault("sweep", path, err)
	}
	for _, name := range list {
		err := unix.Unlinkat(fd, name, 0)
		if errors.Is(err, unix.EISDIR) && strings.HasPrefix(name, shelfPrefix) {
			if err := s.shelf(fd, name, path+"/"+name); err != nil {
				return err
			}
		}
		if errors.Is(err, unix.EISDIR) {
			err = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
		}
		if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
			if s.k == nil {
				s.k = s.t.keeper()
			}
			err = s.k.move(fd, name, "stage-"+name)
		}
		if err != nil {
			return s.t.fault("sweep", path+"/"+name, err)
		}
	}
	return nil
}

func (s *sweeper) shelf(fd int, name, path string) error {
	on, err := openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return s.t.fault("sweep", path, err)
	}
	defer closeFD(on)
	return s.sweep(on, path)
}

func (t *Target) sweepKept(hand *keeper, measure bool) error {
	kept, err := openat(int(t.side.Fd()), keptName, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer closeFD(kept)
	list, err := names(kept)
	if err != nil {
		return err
	}
	slices.Sort(list) // By time.
	var errs []error
	total, newest := int64(0), ""
	for _, name := range slices.Backward(list) {
		when, err := time.Parse(keptTime, name)
		if err != nil {
			continue // Not ours.
		}
		if newest == "" {
			newest = name
		}
		if measure {
			size, err := treeSize(kept, name)
			total += size
			errs = append(errs, err)
		}
		tooMany := total > keptSize && name != newest
		if (hand == nil || name != hand.name) && (tooMany || t.now().Sub(when) > keptAge) {
			errs = append(errs, t.removeKept(name))
		}
	}
	return errors.Join(errs...)
}

// treeSize returns the bytes of the files at and below name.
func treeSize(dir int, name string) (int64, error) {
	n, err := lstat(dir, name)
	if err != nil || n.kind != diff.Directory {
		return n.size, err
	}
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return 0, err
	}
	defer closeFD(fd)
	list, err := names(fd)
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for _, child := range list {
		size, err := treeSize(fd, child)
		if err != nil {
			return total, err
		}
		total += size
	}
	return total, nil
}
