package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// remote is the one that a release is pushed to.
const remote = "origin"

// check refuses to release what is not ready. Every refusal says what is wrong in one sentence.
func check(ctx context.Context, t *tree, version string) error {
	if err := checkVersion(t, version); err != nil {
		return err
	}
	if err := checkRepository(ctx, t, version); err != nil {
		return err
	}
	if err := checkOrigin(ctx, t, version); err != nil {
		return err
	}
	if _, err := datedChangelog(t.dir, version, time.Now()); err != nil {
		return err
	}
	if err := checkREADME(t.dir, version); err != nil {
		return err
	}
	if err := checkSchemas(t.dir); err != nil {
		return err
	}
	return checkTidy(ctx, t)
}

func checkVersion(t *tree, version string) error {
	if semver.Canonical(version) != version || semver.Build(version) != "" {
		return fmt.Errorf("%q is not a version like v1.2.3 or v1.2.3-rc.1", version)
	}
	if err := module.Check(t.root().path(), version); err != nil {
		return fmt.Errorf("%s is not a version of %s: from v2 on, the major version is part of the module path", version, t.root().path())
	}
	return nil
}

// checkRepository looks at the branch, the changes that are not committed, and the tags.
func checkRepository(ctx context.Context, t *tree, version string) error {
	branch, err := git(ctx, t.dir, "rev-parse", "--abbrev-ref", "HEAD")
	if err != nil {
		return err
	}
	if branch != "main" {
		return fmt.Errorf("releases are made on main, and this is %s", branch)
	}
	changes, err := git(ctx, t.dir, "status", "--porcelain")
	if err != nil {
		return err
	}
	if changes != "" {
		return fmt.Errorf("there are changes that are not committed:\n%s", changes)
	}
	listed, err := git(ctx, t.dir, "tag", "--list")
	if err != nil {
		return err
	}
	tags := strings.Fields(listed)
	for _, tag := range t.tags(version) {
		if slices.Contains(tags, tag) {
			return fmt.Errorf("the tag %s exists", tag)
		}
	}
	for _, tag := range tags {
		if semver.IsValid(tag) && semver.Compare(tag, version) > 0 {
			return fmt.Errorf("%s is older than %s, which is released", version, tag)
		}
	}
	return nil
}

// checkOrigin refuses a release that could not be pushed: the main of origin must be an ancestor of this one, and no tag of
// the release may be there. A repository without that remote has nothing to compare.
func checkOrigin(ctx context.Context, t *tree, version string) error {
	remotes, err := git(ctx, t.dir, "remote")
	if err != nil || !slices.Contains(strings.Fields(remotes), remote) {
		return err
	}
	listed, err := git(ctx, t.dir, "ls-remote", remote)
	if err != nil {
		return fmt.Errorf("the repository cannot be compared with %s: %w", remote, err)
	}
	refs := strings.Fields(listed)
	for _, tag := range t.tags(version) {
		if slices.Contains(refs, "refs/tags/"+tag) {
			return fmt.Errorf("the tag %s exists at %s: git fetch --tags brings it", tag, remote)
		}
	}
	if !slices.Contains(refs, "refs/heads/main") {
		return nil
	}
	if _, err := git(ctx, t.dir, "fetch", "--quiet", "--no-tags", remote, "main"); err != nil {
		return err
	}
	missing, err := git(ctx, t.dir, "rev-list", "--count", "HEAD..FETCH_HEAD")
	if err != nil {
		return err
	}
	if missing != "0" {
		return fmt.Errorf("main of %s has commits that are not here (%s): git pull brings them", remote, missing)
	}
	return nil
}

// datedChangelog returns the changelog with the date of the release in the version's heading.
func datedChangelog(dir, version string, date time.Time) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "CHANGELOG.md"))
	if err != nil {
		return "", err
	}
	number := strings.TrimPrefix(version, "v")
	heading := regexp.MustCompile(`(?m)^## ` + regexp.QuoteMeta(number) + `(?: \((.*)\))?$`)
	found := heading.FindStringSubmatchIndex(string(text))
	if found == nil {
		return "", fmt.Errorf("CHANGELOG.md has no section %q", "## "+number)
	}
	return string(text[:found[0]]) + "## " + number + " (" + date.Format(time.DateOnly) + ")" + string(text[found[1]:]), nil
}

// checkREADME refuses a README that tells the state of another minor version.
func checkREADME(dir, version string) error {
	text, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		return err
	}
	want := "Version " + strings.TrimPrefix(semver.MajorMinor(version), "v")
	if !regexp.MustCompile(regexp.QuoteMeta(want) + `\b`).Match(text) {
		return fmt.Errorf("README.md does not say %q", want)
	}
	return nil
}

// checkSchemas refuses a release whose schema is not listed: a listed schema is never changed, only succeeded.
func checkSchemas(dir string) error {
	released := filepath.Join(dir, "migrations", "testdata", "released")
	schemas, err := filepath.Glob(filepath.Join(released, "*.sql"))
	if err != nil {
		return err
	}
	sums, err := os.ReadFile(filepath.Join(released, "SHA256SUMS"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, schema := range schemas {
		if !strings.Contains(string(sums), "testdata/released/"+filepath.Base(schema)+"\n") {
			return fmt.Errorf("the schema %s is not recorded as released: run scripts/released-schema release and commit", filepath.Base(schema))
		}
	}
	return nil
}

// checkTidy refuses modules whose go.mod or go.sum says other than their code.
func checkTidy(ctx context.Context, t *tree) error {
	for _, m := range t.published() {
		if _, err := (command{dir: filepath.Join(t.dir, m.dir)}).run(ctx, "go", "mod", "tidy", "-diff"); err != nil {
			return fmt.Errorf("%s is not tidy: run go mod tidy in its directory\n%w", m.path(), err)
		}
	}
	return nil
}
