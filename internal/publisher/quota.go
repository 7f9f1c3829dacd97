package publisher

import (
	"errors"
	"fmt"
	"strings"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// nearQuota is the share of a quota from which on it is said how much is used.
const nearQuota = 0.9

// errQuota is in the refusal of a tree that is over a quota.
var errQuota = errors.New("over a quota")

// usage is what quotas bound.
type usage struct {
	files int64 // and symlinks
	bytes int64 // of contents, each path's
}

// usageOf counts what is in a tree.
func usageOf(t diff.Tree) (u usage) {
	for _, e := range t.All() {
		u.add(e, 1)
	}
	return u
}

// after returns what is used after changes.
func (u usage) after(changes []diff.Change) usage {
	for _, c := range changes {
		u.add(c.Old, -1)
		u.add(c.New, 1)
	}
	return u
}

func (u *usage) add(e diff.Entry, sign int64) {
	if e.HasContent() {
		u.files += sign
		u.bytes += sign * e.Size
	}
}

// counted is what a tree uses, so that it is not counted anew for each change.
type counted struct {
	tree diff.Hash // zero: none was counted
	usage
}

// quota returns ErrRefused if the tree that changes lead to is over a quota of the tenant,
// and uses more than base does: what makes less of it is let through. Else it returns what
// will be used, and notes whether that is nearly all.
func (p *Publisher) quota(base diff.Tree, changes []diff.Change) (usage, error) {
	p.near = nil
	r := p.registered
	if r.QuotaBytes == 0 && r.QuotaFiles == 0 {
		p.counted = counted{}
		return usage{}, nil
	}
	if p.counted.tree != base.Digest() {
		p.counted = counted{base.Digest(), usageOf(base)}
	}
	after := p.counted.after(changes)
	near, err := withinQuota(r.Registration, p.options.Tenant, p.counted.usage, after)
	if near != "" {
		p.near = errors.New(near)
	}
	return after, err
}

// withinQuota returns ErrRefused if after is over a quota, and more than before; else what
// is nearly used up, "" if nothing is.
func withinQuota(r codec.Registration, tenant string, before, after usage) (near string, err error) {
	var words []string
	for _, q := range []struct {
		limit, before, after int64
		what, flag           string
	}{
		{r.QuotaFiles, before.files, after.files, "files", "--quota-files N"},
		{r.QuotaBytes, before.bytes, after.bytes, "bytes", "--quota-bytes SIZE"},
	} {
		switch {
		case q.limit == 0:
		case q.after > q.limit && q.after > q.before:
			return "", fmt.Errorf("%w: %w", errQuota, refuse(
				fmt.Sprintf("take some away, or raise the quota with \"confsyncd tenant set %s %s\"", tenant, q.flag),
				"the tree would have %d %s, the quota of tenant %q is %d", q.after, q.what, tenant, q.limit))
		case float64(q.after) > nearQuota*float64(q.limit):
			words = append(words, fmt.Sprintf("%d of the %d %s that the tenant's quota allows are used", q.after, q.limit, q.what))
		}
	}
	return strings.Join(words, "; "), nil
}
