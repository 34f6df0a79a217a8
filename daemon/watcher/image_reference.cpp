#include "watcher/image_reference.hpp"

#include <algorithm>

namespace fallbackd::watcher {

namespace {

/// The first part is a host if it has a dot or a port, or is "localhost"; otherwise it belongs to the path.
bool namesHost(std::string_view reference) {
  const auto slash = reference.find('/');
  if (slash == std::string_view::npos) return false;
  const auto first = reference.substr(0, slash);
  return first.find_first_of(".:") != std::string_view::npos || first == "localhost";
}

}  // namespace

std::string registryHost(std::string_view reference) {
  return namesHost(reference) ? std::string(reference.substr(0, reference.find('/'))) : "docker.io";
}

std::string normalizedReference(std::string_view reference) {
  std::string full;
  if (!namesHost(reference)) {
    full = reference.find('/') == std::string_view::npos ? "docker.io/library/" : "docker.io/";
  }
  full.append(reference);
  if (full.find('@') != std::string::npos) return full;
  const auto slash = full.rfind('/');
  if (full.find(':', slash) == std::string::npos) full.append(":latest");
  return full;
}

std::string repositoryOf(std::string_view reference) {
  const std::string full = normalizedReference(reference);
  const auto begin = full.find('/') + 1;
  const auto end = std::min(full.find('@'), full.find(':', begin));
  return full.substr(begin, end == std::string::npos ? end : end - begin);
}

}  // namespace fallbackd::watcher
