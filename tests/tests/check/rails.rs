//! Rails' own migrations: found, run, gone back, and no file of the developer's touched.

use e2e::Lab;

use super::report;
use super::tools::passes_and_goes_back;

const RAILS: &str = "#!/usr/bin/env ruby
APP_PATH = File.expand_path('../config/application', __dir__)
require 'rails/commands'
";

/// The least of Rails that migrates.
const APPLICATION: &str = "require 'rails'
require 'active_record/railtie'
class Shop < Rails::Application
  config.root = File.expand_path('..', __dir__)
  config.eager_load = false
end
";

const ENVIRONMENT: &str = "require_relative 'application'
Rails.application.initialize!
";

const RAKEFILE: &str = "require_relative 'config/application'
Rails.application.load_tasks
";

/// As Rails writes it into `db/schema.rb` where nobody tells it not to.
const DUMP: &str = "# The developer's own\n";

fn migration(class: &str, body: &str) -> String {
    format!("class {class} < ActiveRecord::Migration[6.1]\n{body}end\n")
}

#[test]
fn rails_is_found_run_and_undone_and_dumps_no_schema() {
    let lab = Lab::with_embedded();
    let orders =
        migration("Orders", "  def change\n    create_table(:orders) { |t| t.text :region }\n  end\n");
    let project = lab.project(
        "shop",
        &[
            ("bin/rails", RAILS),
            ("Rakefile", RAKEFILE),
            ("config/application.rb", APPLICATION),
            ("config/environment.rb", ENVIRONMENT),
            ("config/database.yml", "development:\n  adapter: postgresql\n"),
            ("db/schema.rb", DUMP),
            ("db/migrate/20260101000000_orders.rb", &orders),
        ],
    );
    project.run("chmod", ["+x", "bin/rails"]).ok();
    project.cargo("init --project-name shop --profile embedded").ok();
    project.commit("The shop");
    // given a production that Rails itself has made, with rows
    project.production_sql(
        "CREATE TABLE schema_migrations (version varchar PRIMARY KEY); INSERT INTO schema_migrations VALUES ('20260101000000');
         CREATE TABLE orders (id bigserial PRIMARY KEY, region text);
         INSERT INTO orders SELECT n, NULL FROM generate_series(1, 5) AS n",
    );
    // when a migration is clean, then it passes, goes back, and does nothing again
    let second = "db/migrate/20260102000000_note.rb";
    let add = "  def change\n    add_column :orders, :note, :text\n  end\n";
    project.write(second, &migration("Note", add));
    passes_and_goes_back(&project, "20260102000000");
    // and the schema in the checkout is the developer's own
    assert_eq!(project.read("db/schema.rb"), DUMP);
    // when it says that there is no way back, then that is worth a thought, and no failure
    let for_good = "  def up\n    change_column_default :orders, :region, 'eu'\n  end\n  def down\n    raise ActiveRecord::IrreversibleMigration\n  end\n";
    project.write(second, &migration("Note", for_good));
    let (ran, _) = report(&project, &["--quick"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stdout.contains("there is no way back, which it says itself"), "{ran:#?}");
    // when rows are in its way, then that is said, and how many
    let not_null = "  def change\n    change_column_null :orders, :region, false\n  end\n";
    project.write(second, &migration("Note", not_null));
    let (ran, _) = report(&project, &["--quick"]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.stdout.contains("5 rows have no `region`"), "{ran:#?}");
    assert_eq!(project.read("db/schema.rb"), DUMP);
}
