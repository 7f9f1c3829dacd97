package publisher

import (
	"errors"
	"strings"
	"testing"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

func TestQuotaBoundsWhatATreeMayUse(t *testing.T) {
	for name, c := range map[string]struct {
		files, bytes  int64 // the quotas
		before, after usage
		near, refused string
	}{
		"no quota":                {0, 0, usage{1, 1}, usage{1e6, 1e12}, "", ""},
		"within both":             {10, 1000, usage{1, 1}, usage{5, 500}, "", ""},
		"all of it":               {10, 0, usage{9, 1}, usage{10, 1}, "10 of the 10 files", ""},
		"nearly all of the bytes": {10, 1000, usage{1, 1}, usage{2, 950}, "950 of the 1000 bytes", ""},
		"too many files":          {10, 1000, usage{10, 1}, usage{11, 1}, "", "11 files, the quota of tenant \"t\" is 10; take some away, or raise the quota with \"confsyncd tenant set t --quota-files N\""},
		"too many bytes":          {10, 1000, usage{1, 1}, usage{1, 1001}, "", "1001 bytes, the quota of tenant \"t\" is 1000; take some away, or raise the quota with \"confsyncd tenant set t --quota-bytes SIZE\""},
		"a quota that was lowered, and less is used":    {10, 1000, usage{30, 1}, usage{20, 1}, "20 of the 10 files", ""},
		"a quota that was lowered, and as much is used": {10, 1000, usage{30, 1}, usage{30, 2}, "30 of the 10 files", ""},
		"a quota that was lowered, and more is used":    {10, 1000, usage{30, 1}, usage{31, 1}, "", "31 files"},
	} {
		t.Run(name, func(t *testing.T) {
			near, err := withinQuota(codec.Registration{QuotaFiles: c.files, QuotaBytes: c.bytes}, "t", c.before, c.after)
			if !strings.Contains(near, c.near) || c.near == "" && near != "" {
				t.Errorf("near %q, want %q", near, c.near)
			}
			switch {
			case c.refused == "":
				if err != nil {
					t.Error(err)
				}
			case !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.refused):
				t.Errorf("got %v, want %q", err, c.refused)
			}
		})
	}
}

func TestUsageFollowsChanges(t *testing.T) {
	file := func(size int64) diff.Entry {
		return diff.Entry{Kind: diff.File, Mode: 0o644, Size: size, Hash: diff.Hash{byte(size)}}
	}
	before, err := diff.Tree{}.With([]diff.Change{{Path: "a", New: file(10)}, {Path: "b", New: file(20)}, {Path: "d", New: diff.Entry{Kind: diff.Directory, Mode: 0o755}}})
	if err != nil {
		t.Fatal(err)
	}
	after, err := before.With([]diff.Change{{Path: "a", New: file(15)}, {Path: "b"}, {Path: "d/c", New: file(1)}, {Path: "d/e", New: file(2)}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := usageOf(before), (usage{2, 30}); got != want {
		t.Errorf("before: %+v, want %+v", got, want)
	}
	if got, want := usageOf(before).after(diff.Compare(before, after)), (usage{3, 18}); got != want || usageOf(after) != want {
		t.Errorf("after: %+v, counted %+v, want %+v", got, usageOf(after), want)
	}
}
