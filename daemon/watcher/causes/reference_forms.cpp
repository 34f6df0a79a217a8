// SPDX-License-Identifier: Apache-2.0
#include "watcher/causes/reference_forms.hpp"

#include <initializer_list>

namespace fallbackd::watcher {

namespace {

bool splits(std::string_view form) {
  return form.find_first_of(" \"\\\n\r\t") != std::string_view::npos || form.ends_with(':');
}

struct Parts {
  std::string name;  // host and repository
  std::string host;
  std::string repository;
  std::string object;  // everything after the name: a tag, a digest, or both
  std::string digest;
};

/// Splits where containerd splits, but accepts anything: a reference that containerd refuses is quoted too.
Parts split(std::string_view reference) {
  const auto slash = reference.find('/');
  const auto path = slash == std::string_view::npos ? 0 : slash + 1;
  const auto mark = reference.find_first_of(":@", path);
  Parts parts;
  parts.name = reference.substr(0, mark);
  if (slash != std::string_view::npos) parts.host = reference.substr(0, slash);
  parts.repository = reference.substr(path, mark == std::string_view::npos ? mark : mark - path);
  if (mark == std::string_view::npos) return parts;
  parts.object = reference.substr(mark + 1);
  if (const auto at = reference.find('@', mark); at != std::string_view::npos) {
    parts.digest = reference.substr(at + 1);
  }
  return parts;
}

}  // namespace

ReferenceForms::ReferenceForms(std::string_view reference) {
  if (reference.empty()) return;
  const std::string given(reference);
  whole_ = {given, "docker.io/" + given, "docker.io/library/" + given};
  if (constexpr std::string_view kIndex = "index.docker.io/"; reference.starts_with(kIndex)) {
    whole_.push_back("docker.io/" + given.substr(kIndex.size()));
    whole_.push_back("docker.io/library/" + given.substr(kIndex.size()));
  }
  if (constexpr std::string_view kHub = "docker.io/"; reference.starts_with(kHub)) {
    whole_.push_back("docker.io/library/" + given.substr(kHub.size()));
  }
  const auto add = [](std::vector<Part>& to, const std::string& part,
                      std::initializer_list<std::string_view> before) {
    if (!splits(part)) return;
    for (const auto next : before) to.push_back({part, next});
  };
  const auto spelled = whole_.size();
  for (std::size_t i = 0; i < spelled; ++i) {
    const auto parts = split(whole_[i]);
    // A name without a tag gets one; a tag beside a digest is dropped.
    if (parts.object.empty()) whole_.push_back(parts.name + ":latest");
    if (!parts.digest.empty()) whole_.push_back(parts.name + "@" + parts.digest);
    add(plain_, parts.host, {" on ", ": ", ":", " failed with "});
    for (const auto& object : {parts.object, parts.digest}) {
      add(plain_, object, {"]"});
      add(inUrl_, object, {": ", "?", " not found: "});
    }
    add(inUrl_, parts.host, {"/"});
    add(inUrl_, parts.repository, {"/manifests/", "/blobs/"});
  }
  for (const auto& form : whole_) {
    // containerd completes a name before it writes it plainly.
    if (form.find('/') != std::string::npos) add(plain_, form, {""});
  }
}

std::size_t ReferenceForms::wholeBefore(std::string_view text, std::string_view next) const {
  std::size_t longest = 0;
  for (const auto& form : whole_) {
    if (form.size() > longest && text.starts_with(form) && text.substr(form.size()).starts_with(next)) {
      longest = form.size();
    }
  }
  return longest;
}

std::size_t ReferenceForms::unruly(std::string_view text) const {
  return lengthAt(plain_, text);
}

std::size_t ReferenceForms::unrulyInUrl(std::string_view text) const {
  return lengthAt(inUrl_, text);
}

std::size_t ReferenceForms::lengthAt(const std::vector<Part>& parts, std::string_view text) {
  std::size_t longest = 0;
  for (const auto& part : parts) {
    if (part.text.size() > longest && text.starts_with(part.text) &&
        text.substr(part.text.size()).starts_with(part.next)) {
      longest = part.text.size();
    }
  }
  return longest;
}

}  // namespace fallbackd::watcher
