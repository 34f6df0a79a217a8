// SPDX-License-Identifier: Apache-2.0
// What a pod's author writes in annotations: an image, and a binary.
#include "domain/binary_ref.hpp"
#include "domain/image_reference.hpp"
#include "fuzz.hpp"

#include <algorithm>

using namespace fallbackd;

namespace {

bool printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

void image(std::string_view text) {
  const auto reference = ImageReference::parse(text);
  if (!reference) {
    fuzz::demand(reference.error().context.size() < 1024, "a refusal is short, whatever was written");
    return;
  }
  const auto name = reference->toString();
  fuzz::demand(printable(name) && name.size() < 1024, "it contains neither blanks nor control characters");
  fuzz::demand(!reference->host().empty() && parseRegistryHost(reference->host()).has_value(),
               "its host is valid");
  fuzz::demand(isRepositoryPath(reference->path()) && reference->isBelow(reference->path()),
               "its path is valid");
  fuzz::demand(!reference->tag().empty() || !reference->digest().empty(), "it has a tag or a digest");
  const auto again = ImageReference::parse(name);
  fuzz::demand(again.has_value() && again->toString() == name, "containerd's name is canonical");
  fuzz::demand(again->host() == reference->host() && again->path() == reference->path(),
               "it names the same image");
}

void binary(std::string_view text) {
  const auto ref = parseBinaryRef(text);
  if (!ref) return;
  fuzz::demand(ref->toString() == text && printable(text), "it is unchanged");
  fuzz::demand(ref->fileName().find('/') == std::string::npos, "its file is in the cache's own folder");
  fuzz::demand(parseBinaryFileName(ref->fileName()) == *ref, "the file's name gives the same binary");
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  image(fuzz::text(data, size));
  binary(fuzz::text(data, size));
  return 0;
}
