package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	textdiff "github.com/rogpeppe/go-internal/diff"

	"github.com/confsyncd/confsyncd/internal/diff"
)

const (
	// lineLimit is up to how many bytes a content is compared line by line.
	lineLimit = 4 << 20
	// batchBytes is how many bytes of contents are in memory at a time, or one change's.
	batchBytes = 16 << 20
	// binaryProbe is how many bytes are looked at for a NUL, as git does.
	binaryProbe = 8000
)

// side is one of two trees that are compared.
type side struct {
	tree  diff.Tree
	facts sideFacts
	// read hands over contents of the tree by hash, each valid during the call only.
	read func(ctx context.Context, changes []diff.Change, put func(diff.Hash, []byte)) error
}

// patch prints differences as a patch, in the format of git.
type patch struct {
	app      *app
	colors   palette
	from, to side
	raw      bool // contents go out as they are
}

func (a *app) patch(colors palette, from, to side) *patch {
	return &patch{app: a, colors: colors, from: from, to: to, raw: !terminal(a.out)}
}

// print prints all. Contents are read in batches.
func (p *patch) print(ctx context.Context, list []difference) error {
	for len(list) > 0 {
		n, bytes := 0, int64(0)
		for n < len(list) && (n == 0 || bytes+readable(list[n]) <= batchBytes) {
			bytes += readable(list[n])
			n++
		}
		if err := p.batch(ctx, list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// readable returns how many bytes must be read to print a difference.
func readable(d difference) int64 {
	if !lineByLine(d) {
		return 0
	}
	return d.Old.Size + d.New.Size
}

// lineByLine reports whether the contents are to be compared.
func lineByLine(d difference) bool {
	return !d.Old.SameContent(d.New) && d.Old.Size <= lineLimit && d.New.Size <= lineLimit
}

func (p *patch) batch(ctx context.Context, list []difference) error {
	contents := make(map[diff.Hash][]byte)
	var olds, news []diff.Change
	for _, d := range list {
		if !lineByLine(d) {
			continue
		}
		if d.Old.Size > 0 {
			olds = append(olds, diff.Change{Path: d.Path, New: d.Old})
		}
		if d.New.Size > 0 {
			news = append(news, diff.Change{Path: d.Path, New: d.New})
		}
	}
	put := func(h diff.Hash, content []byte) { contents[h] = bytes.Clone(content) }
	if len(olds) > 0 {
		if err := p.from.read(ctx, olds, put); err != nil {
			return err
		}
	}
	if len(news) > 0 {
		if err := p.to.read(ctx, news, put); err != nil {
			return err
		}
	}
	for _, d := range list {
		if err := p.one(d, contents); err != nil {
			return err
		}
	}
	return nil
}

// one prints one difference. Another kind is a deletion and a creation.
func (p *patch) one(d difference, contents map[diff.Hash][]byte) error {
	if !d.Created() && !d.Deleted() && d.Old.Kind != d.New.Kind {
		gone, come := d, d
		gone.New, come.Old = diff.Entry{}, diff.Entry{}
		if err := p.one(gone, contents); err != nil {
			return err
		}
		return p.one(come, contents)
	}
	if d.Old.Kind == diff.Directory || d.New.Kind == diff.Directory {
		return p.directory(d)
	}
	return p.file(d, contents)
}

// directory prints what patches have no words for, in a line that they ignore.
func (p *patch) directory(d difference) error {
	var line string
	switch {
	case d.Created():
		line = fmt.Sprintf("new directory %s mode %04o", printable(d.Path), d.New.Mode)
	case d.Deleted():
		line = fmt.Sprintf("deleted directory %s", printable(d.Path))
	default:
		line = fmt.Sprintf("directory %s mode %04o → %04o", printable(d.Path), d.Old.Mode, d.New.Mode)
	}
	return p.app.printf("%s\n", p.colors.heading(line))
}

// file prints a file or symlink.
func (p *patch) file(d difference, contents map[diff.Hash][]byte) error {
	was := d.Path
	if d.From != "" {
		was = d.From
	}
	head := []string{fmt.Sprintf("diff --git %s %s", printable("a/"+was), printable("b/"+d.Path))}
	switch {
	case d.Created():
		head = append(head, "new file mode "+gitMode(d.New))
	case d.Deleted():
		head = append(head, "deleted file mode "+gitMode(d.Old))
	case d.Old.Mode != d.New.Mode:
		head = append(head, "old mode "+gitMode(d.Old), "new mode "+gitMode(d.New))
	}
	if d.From != "" {
		head = append(head, "similarity index 100%", "rename from "+printable(d.From), "rename to "+printable(d.Path))
	}
	before, after := contents[d.Old.Hash], contents[d.New.Hash]
	var hunks string
	switch {
	case d.Old.Kind == d.New.Kind && d.Old.SameContent(d.New), d.Old.Size == 0 && d.New.Size == 0:
	case !lineByLine(d):
		head = append(head, "too large to compare line by line, "+sizes(d))
	case binary(before) || binary(after):
		head = append(head, "binary, "+sizes(d))
	default:
		from, to := printable("a/"+was), printable("b/"+d.Path)
		if d.Created() {
			from = "/dev/null"
		}
		if d.Deleted() {
			to = "/dev/null"
		}
		head = append(head, "--- "+from, "+++ "+to)
		hunks = unified(before, after)
	}
	for _, line := range head {
		if err := p.app.printf("%s\n", p.colors.heading(line)); err != nil {
			return err
		}
	}
	return p.hunks(hunks)
}

// hunks prints the lines of a patch.
func (p *patch) hunks(text string) error {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if !p.raw {
			line = visible(line)
		}
		switch line[0] {
		case '+':
			line = p.colors.added(line)
		case '-':
			line = p.colors.deleted(line)
		case '@':
			line = p.colors.hunk(line)
		}
		if err := p.app.printf("%s\n", line); err != nil {
			return err
		}
	}
	return nil
}

// unified returns the hunks that lead from one text to another, in time that grows as
// n log n.
func unified(before, after []byte) string {
	text := string(textdiff.Diff("a", before, "b", after))
	for range 3 { // the library's own heading
		_, text, _ = strings.Cut(text, "\n")
	}
	return text
}

func binary(content []byte) bool {
	return bytes.IndexByte(content[:min(len(content), binaryProbe)], 0) >= 0
}

func sizes(d difference) string {
	switch {
	case d.Created():
		return bytesText(d.New.Size)
	case d.Deleted():
		return bytesText(d.Old.Size)
	}
	return bytesText(d.Old.Size) + " → " + bytesText(d.New.Size)
}

// gitMode writes kind and mode as git does.
func gitMode(e diff.Entry) string {
	if e.Kind == diff.Symlink {
		return "120000"
	}
	return fmt.Sprintf("10%04o", e.Mode)
}

// printStat prints the paths alone.
func (a *app) printStat(colors palette, list []difference) error {
	for _, d := range list {
		text := printable(d.Path)
		if d.From != "" {
			text = printable(d.From) + " → " + text
		}
		if words := d.what(); len(words) > 1 || d.sign() == "~" {
			text += colors.faint(" (" + strings.Join(words, ", ") + ")")
		}
		sign := d.sign()
		switch sign {
		case "+":
			sign = colors.added(sign)
		case "-":
			sign = colors.deleted(sign)
		}
		if err := a.printf("  %s %s\n", sign, text); err != nil {
			return err
		}
	}
	return nil
}
