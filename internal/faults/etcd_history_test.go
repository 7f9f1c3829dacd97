//go:build faults

package faults

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// pubKey is what all keys of the tenant begin with that agents read.
const pubKey = "/confsyncd/" + tenant + "/pub/"

// history is what etcd has, whatever the daemons know: it is read directly.
type history struct {
	w    *World
	etcd *clientv3.Client
}

func (w *World) history() *history {
	w.Helper()
	return &history{w: w, etcd: w.Cluster.Client(w.T)}
}

// commits counts the records.
func (h *history) commits() int {
	h.w.Helper()
	resp, err := h.etcd.Get(h.w.Context(), pubKey+"log/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	h.w.do(err)
	return int(resp.Count)
}

// grown waits until there are more than so many commits.
func (h *history) grown(than int) {
	h.w.Helper()
	_, err := lab.Eventually(20*time.Second, func() error {
		if n := h.commits(); n <= than {
			return fmt.Errorf("%d commits", n)
		}
		return nil
	})
	h.w.do(err)
}

// founded waits until a wiped etcd has a history again.
func (h *history) founded(within time.Duration) {
	h.w.Helper()
	_, err := lab.Eventually(within, func() error {
		if h.commits() == 0 {
			return errors.New("no commit")
		}
		return nil
	})
	if err != nil {
		h.w.wrong("e", "the publisher does not found anew: %v", err)
	}
}

// once checks that all since then became one commit.
func (h *history) once(before int) {
	h.w.Helper()
	if n := h.commits(); n != before+1 {
		h.w.wrong("c", "one changeset became %d commits", n-before)
	}
}

// commit makes so many commits, one after another.
func (h *history) commit(times int) {
	h.w.Helper()
	for range times {
		before := h.commits()
		h.w.Replace(1)
		h.grown(before)
	}
}

// compact throws away all that is not the newest, and gives the space back.
func (h *history) compact() {
	h.w.Helper()
	resp, err := h.etcd.Get(h.w.Context(), pubKey+"head")
	h.w.do(err)
	_, err = h.etcd.Compact(h.w.Context(), resp.Header.Revision, clientv3.WithCompactPhysical())
	if !errors.Is(err, rpctypes.ErrCompacted) { // It was: nothing was written since.
		h.w.do(err)
	}
	for _, m := range h.w.Cluster.Members {
		_, err = h.etcd.Defragment(h.w.Context(), m.Endpoint())
		h.w.do(err)
	}
	h.w.Count("compactions", 1)
}
