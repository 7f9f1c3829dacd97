//go:build !lean

package publisher_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
	"github.com/confsyncd/confsyncd/internal/publisher"
	"github.com/confsyncd/confsyncd/internal/store"
)

var (
	growthGenerations = flag.Int("growth", 1500, "generations of TestSizeInUseLevelsOff")
	growthRetained    = flag.Uint64("growthretained", 60, "of them that it retains")
	growthFiles       = flag.Int("growthfiles", 50, "files that it edits")
)

// A day of edits at full speed: etcd is compacted all the while, as its operator has it do.
func TestSizeInUseLevelsOff(t *testing.T) {
	const samples = 12
	files := *growthFiles
	endpoint := devetcdtest.Start(t)
	raw, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	p := newPlaceAt(t, endpoint)
	for i := range files {
		p.write(fmt.Sprint("file-", i), text(2<<10, uint64(i)))
	}
	p.mustPush()
	committed := make(chan publisher.Commit, 1)
	var sweeps, records, packs int
	o := p.options
	o.Settle, o.Sweep = 0, 200*time.Millisecond
	o.Retain = store.Retention{Generations: *growthRetained, Young: time.Second}
	o.Committed = func(c publisher.Commit) { committed <- c }
	o.Swept = func(n store.Count) { sweeps, records, packs = sweeps+1, records+n.Records, packs+n.Packs }
	stop := p.run(o)
	rng := rand.New(rand.NewPCG(1, 1))
	var inUse []int64
	begin := time.Now()
	for i := range *growthGenerations {
		file := rng.IntN(files)
		p.write(fmt.Sprint("file-", file), text(2<<10, uint64(file))+fmt.Sprint("\nedit ", i))
		<-committed
		if (i+1)%(*growthGenerations/samples) == 0 {
			size, keys := compacted(t, raw, endpoint)
			inUse = append(inUse, size)
			t.Logf("%6d generations after %4.0f s: %8d bytes in use, %5d keys", i+1, time.Since(begin).Seconds(), size, keys)
		}
	}
	between := 900 + 5*files // two keyframes, at most: the larger the tree, the fewer there are
	for until := time.Now().Add(time.Minute); ; {
		if _, left := p.oldest(); left <= int(*growthRetained)+between {
			break
		}
		if time.Now().After(until) {
			t.Fatal("more is left than what is retained rests on")
		}
		time.Sleep(100 * time.Millisecond)
	}
	stop()
	t.Logf("%d sweeps removed %d records and %d packs", sweeps, records, packs)
	if early, late := slices.Max(inUse[:samples/2]), slices.Max(inUse[samples/2:]); *growthGenerations >= 10000 && late > early*5/4 {
		t.Errorf("%d bytes in use in the first half, %d in the second", early, late)
	}
}

// compacted compacts etcd, and returns what is in use of its file and how many keys it has.
func compacted(t *testing.T, raw *clientv3.Client, endpoint string) (inUse, keys int64) {
	t.Helper()
	all, err := raw.Get(t.Context(), "/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Compact(t.Context(), all.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	status, err := raw.Status(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return status.DbSizeInUse, all.Count
}
