// SPDX-License-Identifier: Apache-2.0
// A layer of untrusted origin: whatever it contains, only plain files with our owner appear, and only in the
// target folder.
#include "fuzz.hpp"
#include "pack/unpack.hpp"
#include "sys/file.hpp"

#include <filesystem>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

using namespace fallbackd;

namespace {

namespace fs = std::filesystem;

/// In memory if possible; one folder for each process.
const std::string& folder() {
  static const auto made = [] {
    std::string path =
        (fs::exists("/dev/shm") ? "/dev/shm" : fs::temp_directory_path().string()) + "/fallbackd-fuzz-XXXXXX";
    fuzz::demand(::mkdtemp(path.data()) != nullptr, "a folder to unpack into");
    static const struct Remover {
      std::string what;
      ~Remover() {
        std::error_code ignored;
        fs::remove_all(what, ignored);
      }
    } remover{path};
    return path;
  }();
  return made;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const sys::UniqueFd layer(::memfd_create("layer", MFD_CLOEXEC));
  fuzz::demand(sys::writeAll(Stage::cli, layer, fuzz::text(data, size), "layer").has_value(),
               "the layer is written");
  const auto into = folder() + "/into";
  fs::create_directory(into);
  {
    const auto dir = sys::openDir(Stage::cli, into);
    fuzz::demand(dir.has_value(), "the folder opens");
    const auto done = pack::LayerStack(*dir).apply(layer, "it");
    if (!done) fuzz::demand(done.error().stage == Stage::cli, "the stage is cli");
  }
  for (const auto& entry : fs::directory_iterator(into)) {
    const auto status = entry.symlink_status();
    fuzz::demand(fs::is_regular_file(status), "plain files only");
    fuzz::demand(status.permissions() == fs::perms(0600), "only their owner can read them");
    fuzz::demand(!entry.path().filename().string().starts_with('.'), "no hidden files");
  }
  fuzz::demand(std::distance(fs::directory_iterator(folder()), {}) == 1, "no other files");
  fs::remove_all(into);
  return 0;
}
