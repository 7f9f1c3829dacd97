//go:build bench

package bench

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// InotifyFloor returns a Side: from the rename of a file to the event that says so.
func (m *Meter) InotifyFloor(content func() string) Side {
	m.Helper()
	dir := filepath.Join(m.Dir, "inotify")
	m.Must(os.Mkdir(dir, 0o755))
	arrival := m.Arrival(dir)
	return Side{"inotify", func() float64 {
		Rest()
		text := content()
		took := arrival.Await(m.Replace(dir, "file", text), "file", text)
		if took == 0 {
			m.Fatal("a rename raised no event")
		}
		return ms(took)
	}}
}

// EventFloor returns a Side: from a Put to its event at a watcher with a connection of its
// own.
func (m *Meter) EventFloor(e *lab.Etcd, content func() string) Side {
	m.Helper()
	put, watch := e.Client(m.T), e.Client(m.T)
	events := watch.Watch(clientv3.WithRequireLeader(m.Context()), "/floor", clientv3.WithCreatedNotify())
	<-events
	return Side{"put → event", func() float64 {
		Rest()
		text := content()
		begin := time.Now()
		_, err := put.Put(m.Context(), "/floor", text)
		m.Must(err)
		if resp := <-events; len(resp.Events) != 1 || string(resp.Events[0].Kv.Value) != text {
			m.Fatalf("the watch answered %v", resp)
		}
		return ms(time.Since(begin))
	}}
}

// WriteFloor returns a Side: write, fsync, rename, fsync of the directory.
func (m *Meter) WriteFloor(content func() string) Side {
	m.Helper()
	dir := filepath.Join(m.Dir, "write")
	m.Must(os.Mkdir(dir, 0o755))
	return Side{"write", func() float64 {
		Rest()
		text := content()
		return m.Timed(func() error { return writeDurably(dir, "file", text) })
	}}
}

// writeDurably replaces a file so that it survives a power cut.
func writeDurably(dir, name, content string) error {
	f, err := os.Create(filepath.Join(dir, ".new"))
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close(), os.Rename(f.Name(), filepath.Join(dir, name))); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
