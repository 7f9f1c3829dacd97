//go:build faults

package faults

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// etcdSpaceCases leave etcd no room.
func etcdSpaceCases() []Case {
	return []Case{
		{
			Name:  "out of space, and room again",
			How:   "--quota-backend-bytes of 4 MiB filled with others' keys until etcd raises NOSPACE; files are edited; then the keys are deleted, etcd compacted and defragmented and its alarm disarmed",
			Modes: []string{"files"},
			Setup: Setup{Etcd: []string{"--quota-backend-bytes", fmt.Sprint(4 << 20)}},
			Try: func(w *World) {
				for range 2 {
					w.fill()
					w.Replace(3)
					w.Edit(10)
					w.Says(w.Source, "publishing", "out of space", "compact and defragment it, then disarm its alarm")
					w.Shows(w.Source, "waiting", "out of space", "disarm its alarm")
					w.makeRoom()
					w.Healed()
					w.Converge()
					w.Count("faults", 1)
				}
			},
		},
		{
			Name:  "out of space while a large changeset is staged",
			How:   "a changeset of 20 MiB that cannot be compressed meets a quota of 4 MiB: etcd raises NOSPACE in the midst of its packs; then etcd is started with a larger quota, and its alarm disarmed",
			Modes: []string{"files"},
			Setup: Setup{Etcd: []string{"--quota-backend-bytes", fmt.Sprint(4 << 20)}},
			Try: func(w *World) {
				w.bulk("bulk", 40)
				w.Says(w.Source, "publishing", "out of space", "disarm its alarm")
				w.Shows(w.Source, "waiting", "out of space")
				w.largerQuota()
				w.Count("faults", 1)
			},
		},
		{
			Name:  "quota too small for the first push",
			How:   "a source of 20 MiB that cannot be compressed and a quota of 1 MiB: push, and then a publisher; then etcd is started with a larger quota, and its alarm disarmed",
			Modes: []string{"files"},
			Setup: Setup{Empty: true, Etcd: []string{"--quota-backend-bytes", fmt.Sprint(1 << 20)}},
			Try: func(w *World) {
				w.bulk("bulk", 40)
				r := w.Source.Run(w.T, "push", "--publisher", "ci")
				if r.Code != 1 || !strings.Contains(r.Err, "out of space: compact and defragment it, then disarm its alarm") {
					w.wrong("f", "push: %v", r)
				}
				w.Publish()
				w.Agent()
				w.Says(w.Source, "publishing", "out of space", "disarm its alarm")
				w.Shows(w.Target, "waiting", "nothing was published yet")
				w.largerQuota()
				w.Converge()
				w.Read()
				w.Count("faults", 1)
			},
		},
	}
}

// foreign is where others have their keys.
const foreign = "/others/"

// fill puts keys of others until etcd is out of space.
func (w *World) fill() {
	w.Helper()
	c := w.Cluster.Client(w.T)
	value := strings.Repeat("x", 256<<10)
	for i := range 1000 {
		if _, err := c.Put(w.Context(), fmt.Sprint(foreign, i), value); err != nil {
			if !errors.Is(err, rpctypes.ErrNoSpace) {
				w.do(err)
			}
			return
		}
	}
	w.Fatal("etcd never runs out of space")
}

// makeRoom does what an operator does about it.
func (w *World) makeRoom() {
	w.Helper()
	c := w.Cluster.Client(w.T)
	ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
	defer cancel()
	gone, err := c.Delete(ctx, foreign, clientv3.WithPrefix())
	w.do(err)
	_, err = c.Compact(ctx, gone.Header.Revision, clientv3.WithCompactPhysical())
	w.do(err)
	w.defragment(ctx, c)
}

// defragment makes what was compacted room, and ends the alarm.
func (w *World) defragment(ctx context.Context, c *clientv3.Client) {
	w.Helper()
	for _, m := range w.Cluster.Members {
		_, err := c.Defragment(ctx, m.Endpoint())
		w.do(err)
	}
	_, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{})
	w.do(err)
}

// largerQuota starts etcd anew with room for everything.
func (w *World) largerQuota() {
	w.Helper()
	w.do(w.Cluster.Kill())
	flags := w.Cluster.Options.Flags
	w.Cluster.Options.Flags = append(flags, "--quota-backend-bytes", fmt.Sprint(256<<20)) // The last one counts.
	w.do(w.Cluster.Start())
	_, err := w.Cluster.Client(w.T).AlarmDisarm(w.Context(), &clientv3.AlarmMember{})
	w.do(err)
	w.Healed()
}

// bulk publishes files of 512 KiB that no compression makes smaller, as one changeset.
func (w *World) bulk(dir string, files int) {
	w.Helper()
	release := w.Hold()
	w.do(w.Writer.Mkdirs(dir))
	rng := rand.NewChaCha8([32]byte{byte(w.Seed)})
	for i := range files {
		content := make([]byte, 512<<10)
		_, err := rng.Read(content)
		w.do(err)
		path := fmt.Sprintf("%s/%d", dir, i)
		w.Writer.Ledger.Allow(path, 0o644, string(content))
		w.Writer.Model[path] = lab.Node{Mode: fs.FileMode(0o644), Content: string(content)}
		w.do(os.WriteFile(w.Writer.Name(path), content, 0o644))
		w.do(os.Chmod(w.Writer.Name(path), 0o644))
	}
	release()
}
