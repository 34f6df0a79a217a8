// Folders of our own. Whatever this project removes on a disk, it removes below the descriptor of such a
// folder, by one name: what removes takes no path, so that a wrong one costs an error and nothing else. All
// calls block. Kernel 5.6.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <sys/types.h>

namespace fallbackd::sys {

/// One component of a path: not empty, without a slash, neither "." nor "..".
bool isSingleName(std::string_view name);

class OwnedFolder {
 public:
  /// Takes a folder that is open already. Reason unsafe_owner where it is another user's or others may write
  /// to it, unsafe_file_type where it is not a folder. `what` is its name for people.
  static Result<OwnedFolder> take(Stage stage, DirFd dir, std::string what);
  /// Opens `name` below `parent`, without following a symlink or crossing a mount, and takes it.
  static Result<OwnedFolder> open(Stage stage, const DirFd& parent, const std::string& name);
  /// The same; makes it first where it is missing, for its owner alone.
  static Result<OwnedFolder> make(Stage stage, const DirFd& parent, const std::string& name);

  [[nodiscard]] const DirFd& dir() const { return dir_; }
  [[nodiscard]] const std::string& name() const { return what_; }

 private:
  OwnedFolder(DirFd dir, std::string what) : dir_(std::move(dir)), what_(std::move(what)) {}
  DirFd dir_;
  std::string what_;
};

/// Removes the file, or the folder with all below it. Symlinks are removed, not followed. What is on another
/// mount is never touched: reason not_permitted. Absent is fine. Reason unsafe_path where `name` is not a
/// single name.
Result<> removeTree(Stage stage, const OwnedFolder& folder, const std::string& name);

/// Removes a folder of ours with all below it out of one that may be everybody's (/tmp). Absent is fine.
Result<> removeOwned(Stage stage, const DirFd& parent, const std::string& name);

/// A new folder of a name that nobody else has, for its owner alone; removed with all below it when the
/// object goes.
class ScratchFolder {
 public:
  /// In the folder at `parent`, which may be everybody's (/tmp). The name begins with `prefix`.
  static Result<ScratchFolder> make(Stage stage, const std::string& parent, const std::string& prefix);
  ScratchFolder(ScratchFolder&& other) noexcept;
  ScratchFolder& operator=(ScratchFolder&&) = delete;
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder();

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const OwnedFolder& folder() const { return *folder_; }
  /// It stays, under whatever name it has by now.
  void release() { folder_.reset(); }

 private:
  ScratchFolder(DirFd parent, OwnedFolder folder, std::string path, std::string name);
  DirFd parent_;
  std::optional<OwnedFolder> folder_;
  std::string path_;
  std::string name_;
};

}  // namespace fallbackd::sys
