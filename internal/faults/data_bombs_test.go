//go:build faults

package faults

import (
	"bytes"
	"fmt"

	"github.com/confsyncd/confsyncd/internal/codec"
)

// bomb is a stored value that is far more than it looks.
type bomb struct {
	name   string
	stored func(kind byte) []byte
	size   int64 // that a reference to it declares
}

// bombs of about a MiB each: what a Txn takes.
func bombs() []bomb {
	const blocks = 200_000 // 24 GiB
	return []bomb{
		{"declares 100 bytes, inflates to 24 GiB", func(k byte) []byte { return envelope(k, 1, 100, inflating(blocks, 20)) }, 100},
		{"declares 4 MiB, inflates to 24 GiB", func(k byte) []byte { return envelope(k, 1, 4<<20, inflating(blocks, 20)) }, 4 << 20},
		{"declares 4 MiB, holds nothing", func(k byte) []byte { return envelope(k, 1, 4<<20, inflating(0, 20)) }, 4 << 20},
		{"declares 4 MiB, inflates to as much of nothing", func(k byte) []byte { return envelope(k, 1, 4<<20, inflating(32, 20)) }, 4 << 20},
		{"declares an exbibyte", func(k byte) []byte { return envelope(k, 1, 1<<60, inflating(blocks, 20)) }, 100},
		{"declares as much as there is", func(k byte) []byte { return envelope(k, 0, 1<<64-1, bytes.Repeat([]byte("x"), 1000)) }, 100},
		{"asks for a window of 1 TiB", func(k byte) []byte { return envelope(k, 1, 100, inflating(1, 40)) }, 100},
		{"signatures beyond its end", func(k byte) []byte {
			return append([]byte{'C', 'S', 'Y', 'D', codec.Format, k, 0}, bytes.Repeat([]byte{0xff}, 9)...)
		}, 100},
	}
}

// bombCases put what inflates where a value belongs. Packs have the hashes that they are
// named by, and the head names the record: it is read.
func bombCases() []Case {
	const how = "a raw client commits %s that declares little and inflates to 24 GiB, declares an exbibyte, asks for a window of 1 TiB …: " +
		"the most memory of every process (VmHWM, getrusage) stays below 256 MiB"
	places := []struct {
		name  string
		plant func(h *hand, b bomb)
	}{
		{"a record", func(h *hand, b bomb) {
			f := h.next(nil, h.head().Digest)
			f.stored = b.stored('R')
			h.commit(f)
		}},
		{"a pack", func(h *hand, b bomb) {
			p := packOf(b.stored('P'), b.size)
			changes := odd("bomb", func(c *codec.Change) {
				c.New.Size, c.Content = b.size, codec.Content{Packs: []codec.PackRef{p.Ref}}
			})
			f := h.next(changes, h.digestAfter(changes))
			f.packs = []codec.Pack{p}
			h.commit(f)
		}},
		{"a keyframe", func(h *hand, b bomb) {
			p, head := packOf(b.stored('K'), b.size), h.head()
			head.Keyframe = codec.KeyframeRef{Generation: head.Position.Generation, Pack: p.Ref}
			h.putHead(head, nil, map[string][]byte{packKey(p.Ref): p.Data})
		}},
		{"a part of a list", func(h *hand, b bomb) {
			p := packOf(b.stored('L'), b.size)
			f := h.next(nil, h.head().Digest)
			f.stored, f.packs = inParts(f.record, p.Ref), []codec.Pack{p}
			h.commit(f)
		}},
	}
	var cases []Case
	for _, p := range places {
		cases = append(cases, Case{
			Name: p.name + " that inflates", How: fmt.Sprintf(how, p.name), Modes: []string{"files"}, Slow: true,
			Try: func(w *World) {
				h := w.hand()
				// A publisher would go on from a record that is right, whatever its packs hold.
				over := p.name == "a pack" || p.name == "a part of a list"
				h.contents = p.name == "a pack"
				if over {
					w.do(w.Source.Stop())
				}
				h.right()
				for _, b := range bombs() {
					w.Logf("%s", b.name)
					p.plant(h, b)
					h.joins("damaged", h.remedy())
					h.looks()
					h.Honest()
					h.Count("bad inputs", 1)
					h.restore()
				}
				if h.contents {
					p.plant(h, bombs()[0])
				} else {
					h.heal()
				}
				if over {
					w.Publish()
				}
				w.Edit(5)
				w.Healed()
			},
		})
	}
	return cases
}
