#include "watcher/causes/reference_forms.hpp"

#include <algorithm>

namespace fallbackd::watcher {

namespace {

void sortUnique(std::vector<std::string>& all) {
  std::sort(all.begin(), all.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() > b.size() : a < b;
  });
  all.erase(std::unique(all.begin(), all.end()), all.end());
  if (!all.empty() && all.back().empty()) all.pop_back();
}

bool splits(std::string_view form) {
  return form.find_first_of(" \"\\\n\r\t") != std::string_view::npos || form.ends_with(':');
}

struct Parts {
  std::string host;
  std::string repository;
  std::string object;  // tag or digest
};

/// Splits as containerd does, but accepts anything: a reference that containerd refuses is quoted too.
Parts split(std::string_view reference) {
  Parts parts;
  const auto slash = reference.find('/');
  if (slash != std::string_view::npos) {
    parts.host = reference.substr(0, slash);
    reference.remove_prefix(slash + 1);
  }
  auto name = reference;
  if (const auto at = reference.find('@'); at != std::string_view::npos) {
    parts.object = reference.substr(at + 1);
    name = reference.substr(0, at);
  }
  const auto colon = name.rfind(':');
  const auto lastSlash = name.rfind('/');
  if (colon != std::string_view::npos && (lastSlash == std::string_view::npos || colon > lastSlash)) {
    if (parts.object.empty()) parts.object = name.substr(colon + 1);
    name = name.substr(0, colon);
  }
  parts.repository = name;
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
  const auto spelled = whole_.size();
  for (std::size_t i = 0; i < spelled; ++i) {
    const auto parts = split(whole_[i]);
    const auto name = parts.host.empty() ? parts.repository : parts.host + "/" + parts.repository;
    // A name without a tag gets one; a tag beside a digest is dropped.
    whole_.push_back(parts.object.empty() ? name + ":latest" : name + "@" + parts.object);
    unruly_.insert(unruly_.end(), {parts.host, parts.repository, parts.object});
  }
  unruly_.insert(unruly_.end(), whole_.begin(), whole_.end());
  unruly_.erase(
      std::remove_if(unruly_.begin(), unruly_.end(), [](const auto& form) { return !splits(form); }),
      unruly_.end());
  sortUnique(whole_);
  sortUnique(unruly_);
}

std::size_t ReferenceForms::wholeBefore(std::string_view text, std::string_view next) const {
  for (const auto& form : whole_) {
    if (text.starts_with(form) && text.substr(form.size()).starts_with(next)) return form.size();
  }
  return 0;
}

std::size_t ReferenceForms::unruly(std::string_view text) const {
  for (const auto& form : unruly_) {
    if (text.starts_with(form)) return form.size();
  }
  return 0;
}

}  // namespace fallbackd::watcher
