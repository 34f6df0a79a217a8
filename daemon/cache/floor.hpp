// The version floor: the highest version ever accepted of each name, so that an older, validly signed binary
// cannot be brought back. One small JSON file, replaced crash-safely.
#pragma once

#include "base/binary_ref.hpp"
#include "base/error.hpp"

#include <map>
#include <optional>
#include <string>

namespace fallbackd::cache {

class VersionFloor {
 public:
  /// `folder` is made where it is missing. A file that cannot be read as a floor is set aside under another
  /// name and reported through `warning`: a torn file must not lock the node out, nor be lost silently.
  static Result<VersionFloor> open(const std::string& folder);

  /// Reason version_rollback where the version is below the floor of its name.
  [[nodiscard]] Result<> check(const BinaryRef& ref) const;
  /// Raises the floor and writes it before it returns. Reason floor_unwritable.
  Result<> raise(const BinaryRef& ref);

  [[nodiscard]] const std::optional<std::string>& warning() const { return warning_; }

 private:
  std::string folder_;
  std::map<std::string, std::string> versions_;
  std::optional<std::string> warning_;
};

}  // namespace fallbackd::cache
