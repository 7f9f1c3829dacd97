//go:build faults

package faults

import (
	"errors"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/lab"
)

// replayCases put back what was there once, or elsewhere.
func replayCases() []Case {
	return []Case{
		{
			Name: "an old record at a newer key",
			How:  "a raw client copies the record of generation 2 to the next generation's key; once beside the head, once named by it",
			Try:  (*World).oldRecord,
		},
		{
			Name: "an old head put back",
			How:  "a raw client puts the head of generation 2 back, 6 times, while edits go on: the publisher founds anew",
			Try:  (*World).oldHead,
		},
		{
			Name: "another tenant's head and record",
			How:  "a raw client copies another tenant's head over ours, then its record too, then only its record into our history",
			Try:  (*World).foreign,
		},
		{
			Name: "a head with wrong fields", Modes: []string{"files"},
			How: "a raw client alters the head's generation, commit id, digest, founding, keyframe, instance, while the publisher runs: it publishes on, or holds and says so; its next commit or the right bytes end it",
			Try: (*World).alteredHead,
		},
		{
			Name: "the remedy for damage", Modes: []string{"files"},
			How: "head, record, keyframe and pack damaged in turn, each put right as the error says: etcdctl del of the head, and nothing else",
			Try: (*World).remedied,
		},
	}
}

func (w *World) oldRecord() {
	h := w.hand()
	for range 3 {
		w.Replace(3)
		w.Equal(w.c.within())
	}
	old, head := h.get(logKey(2)), h.head()
	next := head.Position.Generation + 1
	h.put(map[string][]byte{logKey(next): old})
	w.Count("bad inputs", 1)
	w.Edit(3) // The next commit takes its place.
	w.Equal(w.c.within())

	w.do(w.Source.Stop())
	h.right()
	head = h.head()
	head.Position.Generation++
	head.Position.Commit, head.Digest = h.record(2).Commit, h.record(2).Digest
	h.putHead(head, map[string][]byte{logKey(head.Position.Generation): old}, nil)
	h.refused("damaged", h.remedy())
	h.heal()
	w.Publish()
	w.Edit(3)
	w.Healed()
}

func (w *World) oldHead() {
	h := w.hand()
	w.Replace(3)
	w.Equal(w.c.within())
	old := h.get(headKey)
	for range 6 {
		w.Edit(3)
		w.Equal(w.c.within())
		h.put(map[string][]byte{headKey: old})
		w.Count("bad inputs", 1)
		w.Edit(3)
		w.Healed()
		w.Converge()
	}
}

// foreign copies values of another tenant, which has a host of its own in the same etcd.
func (w *World) foreign() {
	h := w.hand()
	other := w.Lab.Host(w.T, "other", "source")
	writer, err := lab.NewWriter(other.Dir, w.Seed+1)
	w.do(err)
	w.do(writer.Fill(50))
	other.Must(w.T, "push")
	w.do(writer.PutFile(writer.Pick(writer.Paths(func(n lab.Node) bool { return n.Mode.IsRegular() })))) // Some edits change nothing.
	other.Must(w.T, "push")
	w.Replace(3)
	w.Equal(w.c.within())
	take := func(key string) []byte {
		resp, err := h.etcd.Get(w.Context(), pub("other")+key)
		if err == nil && len(resp.Kvs) != 1 {
			err = errors.New("the other tenant has no " + key)
		}
		w.do(err)
		return resp.Kvs[0].Value
	}
	h.right()
	at := h.head().Position.Generation

	h.put(map[string][]byte{headKey: take(headKey)})
	h.holds("another tenant id", "--found", "confsyncd accept")
	w.Says(w.Source, "holding", "--take-over")
	h.looks()
	w.Count("bad inputs", 1)
	h.heal()

	h.put(map[string][]byte{headKey: take(headKey), logKey(1): take(logKey(1)), logKey(2): take(logKey(2))})
	h.holds("another tenant id", "--found", "confsyncd accept")
	h.looks()
	w.Count("bad inputs", 1)
	h.heal()

	// Whoever has it does not need the record; who joins does.
	h.put(map[string][]byte{logKey(at): take(logKey(2))})
	h.joins("damaged", h.remedy())
	h.looks()
	w.Count("bad inputs", 1)
	h.heal()
	w.Edit(5)
	w.Healed()
}

// alteredHead has the publisher see heads that only just differ from its own.
func (w *World) alteredHead() {
	h := w.hand()
	w.Replace(3)
	w.Equal(w.c.within())
	alterations := []struct {
		name string
		next func(h *hand) []byte
	}{
		{"digest", func(h *hand) []byte { x := h.head(); x.Digest[3] ^= 4; return h.encoded(x) }},
		{"instance", func(h *hand) []byte { x := h.head(); x.Instance = "f00d"; return h.encoded(x) }},
		{"publisher", func(h *hand) []byte { x := h.head(); x.Publisher = "x"; return h.encoded(x) }},
		{"founding", func(h *hand) []byte { x := h.head(); x.Founding = x.Position.Generation; return h.encoded(x) }},
		{"generation above", func(h *hand) []byte { x := h.head(); x.Position.Generation += 1 << 20; return h.encoded(x) }},
		{"generation below", func(h *hand) []byte { x := h.head(); x.Position.Generation--; return h.encoded(x) }},
		{"commit id", func(h *hand) []byte { x := h.head(); x.Position.Commit[5] ^= 1; return h.encoded(x) }},
		{"garbage", func(*hand) []byte { return []byte("garbage") }},
		{"newer", func(h *hand) []byte { return changed(h.get(headKey), 4, 2) }},
	}
	for _, a := range alterations {
		w.Logf("%s", a.name)
		h.right()
		bad := a.next(h)
		h.put(map[string][]byte{headKey: bad})
		w.Count("bad inputs", 1)
		w.Edit(2)
		// It may lead on by itself: then etcd is right, and not what it was.
		if _, err := lab.Eventually(5*time.Second, w.differ); err != nil {
			h.looks()
			if string(h.get(headKey)) == string(bad) {
				h.restore()
			}
		}
		w.Healed()
		w.Converge()
		h.right()
		h.joinsRight(a.name)
	}
}

func (h *hand) encoded(head codec.Head) []byte {
	h.Helper()
	raw, err := codec.EncodeHead(head)
	h.do(err)
	return raw
}

// remedied damages one value after another, and does what is said.
func (w *World) remedied() {
	w.Rewound = true // What was damaged stays so, below the founding: log ends there.
	h := w.keyframed()
	w.Publish()
	w.Edit(3)
	w.Equal(w.c.within())
	for _, v := range values()[:4] {
		if h.head().Keyframe.IsZero() {
			break
		}
		w.Logf("%s", v.name)
		key := v.key(h)
		b := h.get(key)
		h.put(map[string][]byte{key: changed(b, len(b)/2, b[len(b)/2]^8)})
		w.Count("bad inputs", 1)
		_, err := h.etcd.Delete(w.Context(), pub(tenant)+headKey)
		w.do(err)
		w.Edit(2)
		w.Healed()
		w.Converge()
		fresh := h.fresh()
		h.sane("pull", fresh.Must(w.T, "pull"))
		h.got(fresh, w.Writer.Model)
		for h.head().Keyframe.IsZero() {
			w.Replace(60)
			w.Equal(w.c.within())
		}
	}
	w.Healed()
}
