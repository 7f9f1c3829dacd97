package publisher

import (
	"errors"
	"testing"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

func TestJudge(t *testing.T) {
	var (
		at = func(generation uint64) diff.Position {
			return diff.Position{Tenant: diff.TenantID{1}, Generation: generation}
		}
		foreign  = diff.Position{Tenant: diff.TenantID{2}, Generation: 5}
		position = func(p diff.Position) *diff.Position { return &p }
		parent   = func(g uint64) *PushOptions { return &PushOptions{Parent: &g} }
		push     = &PushOptions{}
		found    = &PushOptions{Found: position(at(9))}
		equal    = diff.Hash{7}
	)
	// The head is at generation 5, by publisher "one", instance "i1"; the directory differs.
	for name, tt := range map[string]struct {
		none  bool   // there is no head
		back  uint64 // what the head is a rollback to
		claim claim
		want  verdict // 0: see err
		err   error
	}{
		"nobody's tenant is founded":                                   {none: true, want: founds},
		"a lost head is founded anew":                                  {none: true, claim: claim{known: at(5)}, want: founds},
		"another instance's head is not published over":                {claim: claim{instance: "i2", options: Options{Name: "one"}}, err: ErrConflict},
		"its own instance's is":                                        {claim: claim{instance: "i1"}, want: joins},
		"an equal directory is nobody's conflict":                      {claim: claim{instance: "i2", digest: equal}, want: joins},
		"--take-over is enough":                                        {claim: claim{instance: "i2", takeOver: true}, want: joins},
		"its own remembered head needs no look":                        {claim: claim{instance: "i1", known: at(5)}, want: stays},
		"nor one that it became live under":                            {claim: claim{instance: "i2", known: at(5), stood: at(5)}, want: stays},
		"one that was only remembered is asked about":                  {claim: claim{instance: "i2", known: at(5)}, err: ErrConflict},
		"a foreign tenant id is refused":                               {claim: claim{instance: "i2", known: foreign}, err: ErrRefused},
		"even to an equal directory":                                   {claim: claim{instance: "i2", known: foreign, digest: equal}, err: ErrRefused},
		"a foreign one from before a push --found too":                 {claim: claim{instance: "i1", known: foreign}, err: ErrRefused},
		"a foreign one of its own push --found is not":                 {claim: claim{instance: "i1", known: diff.Position{Tenant: foreign.Tenant, Generation: 4}}, want: joins},
		"a push needs the head's name":                                 {claim: claim{push: push, instance: "i1", options: Options{Name: "two"}}, err: ErrConflict},
		"and no more":                                                  {claim: claim{push: push, instance: "i2", options: Options{Name: "one"}}, want: joins},
		"a push looks whatever it remembers":                           {claim: claim{push: push, instance: "i1", known: at(5), options: Options{Name: "one"}}, want: joins},
		"a push of an equal directory is nobody's trouble":             {claim: claim{push: push, digest: equal}, want: joins},
		"a push by name does not undo a rollback":                      {back: 2, claim: claim{push: push, instance: "i2", options: Options{Name: "one"}}, err: ErrConflict},
		"nor one that remembers what was rolled back":                  {back: 2, claim: claim{push: push, instance: "i1", known: at(4), options: Options{Name: "one"}}, err: ErrConflict},
		"unless the directory was equal to it since":                   {back: 2, claim: claim{push: push, instance: "i2", known: at(5), options: Options{Name: "one"}}, want: joins},
		"or etcd was taken back to it":                                 {back: 2, claim: claim{push: push, instance: "i2", known: at(9), options: Options{Name: "one"}}, want: joins},
		"who names its generation has seen it":                         {back: 2, claim: claim{push: parent(5), instance: "i2"}, want: joins},
		"--take-over is meant":                                         {back: 2, claim: claim{push: push, instance: "i2", takeOver: true}, want: joins},
		"push --found begins anew above a rollback too":                {back: 2, claim: claim{push: found, options: Options{Name: "one"}}, want: founds},
		"push --found begins anew":                                     {claim: claim{push: found, options: Options{Name: "one"}}, want: founds},
		"push --found needs the name too":                              {claim: claim{push: found, options: Options{Name: "two"}}, err: ErrConflict},
		"--parent stands in for the name":                              {claim: claim{push: parent(5), options: Options{Name: "two"}}, want: joins},
		"--parent of a head that moved":                                {claim: claim{push: parent(4), instance: "i1", options: Options{Name: "one"}}, err: ErrConflict},
		"--parent of a head that moved, equal":                         {claim: claim{push: parent(4), instance: "i1", digest: equal}, err: ErrConflict},
		"--parent of a head that moved, with --take-over":              {claim: claim{push: parent(4), takeOver: true}, err: ErrConflict},
		"--parent of the commit that it may have sent":                 {claim: claim{push: parent(4), instance: "i1", digest: equal, unsure: true}, want: joins},
		"--parent 0 with a head":                                       {claim: claim{push: parent(0), options: Options{Name: "one"}}, err: ErrConflict},
		"--parent 0 without one":                                       {none: true, claim: claim{push: parent(0)}, want: founds},
		"--parent 5 without one":                                       {none: true, claim: claim{push: parent(5)}, err: ErrConflict},
		"in an election an eligible directory is published":            {claim: claim{instance: "i2", lineage: &descent{eligible: true}}, want: goesOn},
		"in an election no other directory is":                         {claim: claim{instance: "i2", lineage: &descent{}}, err: ErrConflict},
		"not even one that equals what etcd was taken back to":         {claim: claim{instance: "i2", known: at(9), digest: equal, lineage: &descent{}}, err: ErrConflict},
		"nor one whose own commit etcd was taken back to":              {claim: claim{instance: "i1", known: at(9), lineage: &descent{}}, err: ErrConflict},
		"its own newest commit is its own in an election too":          {claim: claim{instance: "i1", known: at(5), lineage: &descent{}}, want: stays},
		"a lost head is founded anew by an eligible one":               {none: true, claim: claim{known: at(5), lineage: &descent{eligible: true}}, want: founds},
		"and by no other":                                              {none: true, claim: claim{known: at(5), lineage: &descent{}}, err: ErrConflict},
		"nobody's tenant is founded by whoever is elected":             {none: true, claim: claim{lineage: &descent{}}, want: founds},
		"--take-over is enough in an election too":                     {claim: claim{instance: "i2", takeOver: true, lineage: &descent{}}, want: joins},
		"a foreign tenant id is refused in an election, however equal": {claim: claim{instance: "i2", known: foreign, lineage: &descent{eligible: true}}, err: ErrRefused},
		"--parent does not lift a foreign tenant id":                   {claim: claim{push: parent(5), known: foreign}, err: ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			head := &store.Head{Head: codec.Head{Position: at(5), Digest: equal, Publisher: "one", Instance: "i1", Rollback: tt.back}}
			if tt.none {
				head = nil
			}
			got, err := tt.claim.judge(head)
			if !errors.Is(err, tt.err) || err == nil && got != tt.want {
				t.Errorf("got %v, %v; want %v, %v", got, err, tt.want, tt.err)
			}
		})
	}
}
