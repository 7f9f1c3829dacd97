//go:build faults

package faults

import (
	"fmt"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/lab"
)

// spoil makes other bytes of a stored value.
type spoil struct {
	name string
	of   func(b []byte) []byte
}

// misshapes are values that were cut, repeated, or are something else.
func misshapes() []spoil {
	frame := func(times int) func([]byte) []byte {
		return func(b []byte) []byte {
			kind, stored, size, body := opened(b)
			return envelope(kind, stored, uint64(times)*size, append(append([]byte{}, body...), body...))
		}
	}
	return []spoil{
		{"empty", func([]byte) []byte { return nil }},
		{"cut after a byte", func(b []byte) []byte { return b[:1] }},
		{"cut in the envelope", func(b []byte) []byte { return b[:6] }},
		{"cut in the middle", func(b []byte) []byte { return b[:len(b)/2] }},
		{"cut before the last byte", func(b []byte) []byte { return b[:len(b)-1] }},
		{"doubled", func(b []byte) []byte { return append(append([]byte{}, b...), b...) }},
		{"frame doubled", frame(1)},
		{"frame and size doubled", frame(2)},
		{"noise behind", func(b []byte) []byte { return append(append([]byte{}, b...), "noise"...) }},
		{"text", func([]byte) []byte { return []byte("no such thing\n") }},
		{"stored in an unknown way", func(b []byte) []byte { return changed(b, 6, 7) }},
		{"another kind", func(b []byte) []byte { return changed(b, 5, 'Z') }},
		{"a newer format", func(b []byte) []byte { return changed(b, 4, codec.Format+1) }},
	}
}

// changed is a value with one byte altered.
func changed(b []byte, at int, to byte) []byte {
	b = append([]byte{}, b...)
	b[at] = to
	return b
}

// value is a kind of stored value, and one of them.
type value struct {
	name  string
	files int // in the source, for there to be one
	// within is how soon so many files have to be equal.
	within time.Duration
	key    func(h *hand) string
}

func values() []value {
	keyframe := func(h *hand) *codec.Keyframe {
		ref := h.head().Keyframe
		k, err := h.coder.DecodeKeyframe(ref, h.get(packKey(ref.Pack)))
		h.do(err)
		return k
	}
	return []value{
		{"the head", 0, 0, func(*hand) string { return headKey }},
		{"a record", 0, 0, func(h *hand) string { return logKey(h.head().Position.Generation) }},
		{"a keyframe", 0, 0, func(h *hand) string { return packKey(h.head().Keyframe.Pack) }},
		{"a pack", 0, 0, func(h *hand) string { return packKey(keyframe(h).List.Packs[0]) }},
		{"a part of a list", 4500, 2 * time.Minute, func(h *hand) string { return packKey(h.record(h.head().Founding).List.Parts[0]) }},
	}
}

// damageCases spoil one stored value after another, where it lies.
func damageCases() []Case {
	var cases []Case
	for _, v := range values() {
		cases = append(cases, Case{
			Name: v.name + " with bits flipped", Modes: []string{"files"}, Setup: Setup{Files: v.files}, Slow: v.files > 0, Within: v.within,
			How: "a raw client flips a bit of the stored value: of every byte of the envelope, and 12 at random behind it; a host joins each time, by pull",
			Try: func(w *World) { w.flip(v) },
		}, Case{
			Name: v.name + " cut, doubled, or something else", Modes: []string{"files"}, Setup: Setup{Files: v.files}, Slow: v.files > 0, Within: v.within,
			How: "a raw client puts an empty, cut, doubled (envelope, frame, frame and size), lengthened value, garbage, another kind, a newer format in its place; " +
				"a host joins each time, by pull",
			Try: func(w *World) { w.misshape(v) },
		})
	}
	return cases
}

// keyframed edits until there is a keyframe, and a few records above it. Of a large source
// the founding serves as one for long.
func (w *World) keyframed() *hand {
	w.Helper()
	h := w.hand()
	for w.c.Setup.Files == 0 && h.head().Keyframe.IsZero() {
		at := h.head().Position.Generation
		w.Replace(60)
		_, err := lab.Eventually(w.c.within(), func() error {
			if h.head().Position.Generation == at {
				return fmt.Errorf("still at generation %d", at)
			}
			return nil
		})
		w.do(err)
		w.Equal(w.c.within())
	}
	w.Replace(3)
	w.Equal(w.c.within())
	// Nobody but us is to change etcd: a keyframe would, and what a publisher makes of
	// damage is another case.
	w.do(w.Source.Stop())
	h.right()
	return h
}

// flip flips bits of one value.
func (w *World) flip(v value) {
	h := w.keyframed()
	key := v.key(h)
	b := h.get(key)
	bits := make([]int, 0, 32)
	for at := range 11 {
		bits = append(bits, at*8+w.Writer.Draw(8))
	}
	for range 12 {
		bits = append(bits, 11*8+w.Writer.Draw(8*(len(b)-11)))
	}
	for _, bit := range bits {
		h.put(map[string][]byte{key: changed(b, bit/8, b[bit/8]^1<<(bit%8))})
		h.joinsRight(fmt.Sprintf("bit %d of %d flipped", bit, 8*len(b)))
	}
	h.looks()
	h.heal()
	w.Publish()
	w.Edit(5)
	w.Healed()
}

// misshape puts something else in the value's place.
func (w *World) misshape(v value) {
	h := w.keyframed()
	key := v.key(h)
	b := h.get(key)
	for _, s := range misshapes() {
		h.put(map[string][]byte{key: s.of(b)})
		h.joinsRight(s.name)
		h.looks()
		h.restore()
	}
	h.heal()
	w.Publish()
	w.Edit(5)
	w.Healed()
}

// joinsRight has a new host pull: it gets what is right, or nothing and a reason.
func (h *hand) joinsRight(what string) {
	h.Helper()
	fresh := h.fresh()
	r := fresh.Run(h.T, "pull", "--mode", h.Mode)
	h.sane("pull", r)
	want := make(lab.Tree)
	if r.Code == 0 {
		want = h.Writer.Model
	} else if missing(r.Err, []string{h.remedy()}) != nil && missing(r.Err, []string{"upgrade"}) != nil && missing(r.Err, []string{"files are kept"}) != nil {
		h.wrong("f", "%s: no remedy: %v", what, r)
	}
	h.got(fresh, want)
	h.Count("bad inputs", 1)
}
