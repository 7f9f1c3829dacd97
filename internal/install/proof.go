package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// proofName is the file that holds the Proof, beside the stage.
const proofName = "proof"

// maxProof bounds what is read of that file, in bytes.
const maxProof = 256 << 20

// Proof is what is known of how generations did on this host: which one is on trial, and
// which one was refused. It is durable, and outlives every crash.
type Proof struct {
	// Trial is the apply that is yet to be proven; nil if there is none.
	Trial *Trial `json:"trial,omitempty"`
	// Refused is the generation that is not to be tried again; nil if there is none.
	Refused *Refusal `json:"refused,omitempty"`
	// Reverted says what the files are of if they are not of the journal's position; see
	// Target.Content.
	Reverted *Content `json:"reverted,omitempty"`
}

// Trial is one or more applies, and repairs, whose files are live and not proven.
type Trial struct {
	// From is what the files were of that were proven last; zero if none were.
	From Version `json:"from"`
	// Changed are the paths that were written or deleted, in path order. None stands for
	// all.
	Changed []Path `json:"changed,omitempty"`
	// Undo is what leads back, in path order.
	Undo []Undo `json:"undo,omitempty"`
	// Final says that there is no way back.
	Final bool `json:"final,omitempty"`
	// Failed says that it was found wanting, and its files are kept.
	Failed bool `json:"failed,omitempty"`
	// Reverting says that it was found wanting, and is taken back.
	Reverting bool `json:"reverting,omitempty"`
	// Digests are those of the managed trees that are on trial: the last one's, and the
	// one's that it began from if that was on trial too.
	Digests []string `json:"digests"`
}

// Content is what a managed tree is of.
type Content struct {
	Version
	Digest string `json:"digest"`
	// At is the journal's position, which tells the tree from one that a later generation
	// has made equal.
	At Version `json:"at"`
}

func (c *Content) holds(s journal.State) bool {
	return c != nil && c.At.Is(s.Position) && c.Digest == s.Managed.Digest().String()
}

// Undo is what stood at a path, which is None if nothing did.
type Undo struct {
	Path Path      `json:"path"`
	Kind diff.Kind `json:"kind,omitempty"`
	Mode uint32    `json:"mode,omitempty"`
	Size int64     `json:"size,omitempty"`
	Hash string    `json:"hash,omitempty"`
}

// Path is a path, which need not be UTF-8.
type Path []byte

// Refusal is why a generation is not tried again.
type Refusal struct {
	Version
	Hook   string    `json:"hook"`
	Reason string    `json:"reason"`
	Time   time.Time `json:"time"`
}

// Version is a position as it is written down.
type Version struct {
	Tenant     string `json:"tenant_id,omitempty"`
	Generation uint64 `json:"generation"`
	Commit     string `json:"commit,omitempty"`
}

// VersionOf returns p as it is written down.
func VersionOf(p diff.Position) Version {
	if p.IsZero() {
		return Version{}
	}
	return Version{p.Tenant.String(), p.Generation, p.Commit.String()}
}

// Is reports whether v is p.
func (v Version) Is(p diff.Position) bool { return v == VersionOf(p) }

// Paths returns the paths that were changed.
func (t Trial) Paths() []string {
	paths := make([]string, len(t.Changed))
	for i, p := range t.Changed {
		paths[i] = string(p)
	}
	return paths
}

// Proof returns what is known of how generations did.
func (t *Target) Proof() Proof { return t.proof }

// ReadProof returns what the target at dir knows of how generations did, without a lock.
func ReadProof(dir string) (Proof, error) {
	root, err := openRealRoot(ControlDir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return Proof{}, nil
	}
	if err != nil {
		return Proof{}, fmt.Errorf("read the proof: %w", err)
	}
	b, err := root.ReadFile(proofName)
	err = errors.Join(err, root.Close())
	if errors.Is(err, fs.ErrNotExist) {
		return Proof{}, nil
	}
	if err != nil {
		return Proof{}, fmt.Errorf("read the proof: %w", err)
	}
	return decodeProof(b)
}

func decodeProof(b []byte) (p Proof, err error) {
	if len(b) > maxProof {
		return p, fmt.Errorf("the proof has %d bytes", len(b))
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return Proof{}, fmt.Errorf("decode the proof: %w", err)
	}
	if p.Trial == nil {
		return p, nil
	}
	for _, u := range p.Trial.Undo {
		if _, err := u.entry(); err != nil {
			return Proof{}, fmt.Errorf("decode the proof: %w", err)
		}
	}
	return p, nil
}

// loadProof reads what an earlier process knew. Where that is damaged everything is on
// trial, without a way back.
func (t *Target) loadProof() error {
	b, err := t.sideRoot.ReadFile(proofName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return t.fault("read", t.sideName()+"/"+proofName, err)
	}
	if t.proof, err = decodeProof(b); err != nil {
		t.o.Log.Warn("what is known of how generations did is damaged: the one that is installed is taken for new", "path", t.o.Dir, "error", err)
		t.proof = Proof{Trial: &Trial{Final: true, Digests: []string{t.State().Managed.Digest().String()}}}
	}
	return nil
}

// setProof makes p what is known, durably.
func (t *Target) setProof(p Proof) error {
	b, err := json.Marshal(p)
	if err == nil {
		err = writeDurably(t.sideRoot, proofName, append(b, '\n'))
	}
	if err != nil {
		return t.fault("write", t.sideName()+"/"+proofName, err)
	}
	t.proof = p
	return nil
}

// Content returns what the files are of: the journal's position, but for a generation that
// was reverted.
func (t *Target) Content() Version { return t.proof.Content(t.State()) }

// Content is Target.Content of a target whose journal says s.
func (p Proof) Content(s journal.State) Version {
	if p.Reverted.holds(s) {
		return p.Reverted.Version
	}
	return VersionOf(s.Position)
}

// OnTrial returns the trial in hand; nil if there is none.
func (t *Target) OnTrial() *Trial {
	trial := t.proof.Trial
	if trial == nil || trial.Reverting {
		return trial
	}
	if !slices.Contains(trial.Digests, t.State().Managed.Digest().String()) {
		return nil // It was never begun.
	}
	return trial
}

// Refuse notes durably why a generation is not to be tried again. With trial it is the one
// on trial, whose files are kept; or, with revert, are to be taken back by Revert. What was
// refused of a newer generation stays: that is the one that would be tried next.
func (t *Target) Refuse(r Refusal, trial, revert bool) error {
	p := t.proof
	if newest := p.Refused; newest == nil || newest.Tenant != r.Tenant || newest.Generation <= r.Generation {
		p.Refused = &r
	}
	if trial && p.Trial != nil {
		next := *p.Trial
		next.Failed, next.Reverting = !revert, revert
		p.Trial = &next
	}
	return t.setProof(p)
}

// Proved ends the trial well, and with it what was known of the generation as refused.
func (t *Target) Proved() error {
	p := t.proof
	if p.Refused != nil && p.Refused.Generation <= t.Content().Generation {
		p.Refused = nil
	}
	p.Trial = nil
	return t.endTrial(p)
}

// EndTrial ends the trial, whatever came of it.
func (t *Target) EndTrial() error {
	p := t.proof
	p.Trial = nil
	return t.endTrial(p)
}

func (t *Target) endTrial(p Proof) error {
	if !p.Reverted.holds(t.State()) {
		p.Reverted = nil
	}
	if err := t.setProof(p); err != nil {
		return err
	}
	return t.dropPrevious()
}

// Retry takes back the refusal of a generation, and what Retry, the function, has asked
// for.
func (t *Target) Retry() error {
	p := t.proof
	if p.Refused != nil || p.Trial != nil && p.Trial.Failed {
		p.Refused = nil
		if p.Trial != nil {
			next := *p.Trial
			next.Failed = false
			p.Trial = &next
		}
		if err := t.setProof(p); err != nil {
			return err
		}
	}
	if err := t.removeControl(retryName); err != nil {
		return fmt.Errorf("retry: %w", err)
	}
	return nil
}

func (u Undo) entry() (diff.Entry, error) {
	e := diff.Entry{Kind: u.Kind, Mode: u.Mode, Size: u.Size}
	if u.Hash != "" {
		h, err := parseHash(u.Hash)
		if err != nil {
			return e, err
		}
		e.Hash = h
	}
	if err := diff.CheckPath(string(u.Path)); err != nil {
		return e, err
	}
	if e.Kind == diff.None {
		return diff.Entry{}, nil
	}
	return e, e.Check()
}

func undoOf(path string, e diff.Entry) Undo {
	u := Undo{Path: Path(path), Kind: e.Kind, Mode: e.Mode, Size: e.Size}
	if e.HasContent() {
		u.Hash = e.Hash.String()
	}
	return u
}
