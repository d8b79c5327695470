//! The forms in which secrets stand in code, configuration, commands and prose.
//!
//! In a form `«P»` is a password, `«K»` a generated key, `«H»` 32 hexadecimal digits, `«S»` 44
//! characters of base64, `«B»` the base64 of `user:password`, `«U»` a UUID.

use super::*;

/// Values for the forms, in halves.
const VALUES: [(&str, &str); 6] = [
    ("P", concat!("v4x9Ml", "WGI9_lnX2")),
    ("K", concat!("q7Zk2LmX9vTb4R", "nW8sYc1dHf3gJk5pQr")),
    ("H", concat!("31c28a8403d171", "74570e8e9dcca2fc03")),
    (
        "S",
        concat!("jhrTGSplh9+MBBK31zUpGb7", "ioW09ABXrKcqPoB2Rz7E="),
    ),
    ("B", concat!("Y2k6ZUEyRC42di4", "3dmN2MVgyNnh1TFJo")),
    ("U", concat!("038dc160-7cc5-435a-", "ab54-72f1a6e6fd4c")),
];

/// Forms in which the marked value is found, and nothing else.
const FOUND: &[&str] = &[
    // Python
    r#"password = "«P»""#,
    "db_password: str = '«P»'",
    r#"{"password": "«P»"}"#,
    r#"connect(host="db", password="«P»")"#,
    r#"os.environ["DB_PASSWORD"] = "«P»""#,
    r#"PASSWORD = b"«P»""#,
    r#"password = os.getenv("DB_PASSWORD", "«P»")"#,
    "config['password'] = '«P»'",
    r#"password = config.get("password", "«P»")"#,
    "client = Client(api_key='«K»')",
    r#"requests.get(url, auth=("ci", "x"), headers={"X-Api-Key": "«K»"})"#,
    // JavaScript, TypeScript
    "const password = '«P»';",
    "  password: '«P»',",
    "let dbPassword = `«P»`;",
    r#"const pw = process.env.DB_PASSWORD || "«P»";"#,
    r#"const pw = process.env.DB_PASSWORD ?? "«P»";"#,
    r#"this.password = "«P»";"#,
    r#"const password: string = "«P»";"#,
    r#"export const DB_PASSWORD = "«P»" as const;"#,
    "private readonly apiKey: string = '«K»';",
    "fetch(url, { headers: { Authorization: 'Bearer «K»' } })",
    r#"fetch(url, { headers: { "Authorization": `Bearer «K»` } })"#,
    r#"headers.set("Authorization", "Bearer «K»");"#,
    // Go
    r#"password := "«P»""#,
    r#"const dbPassword = "«P»""#,
    r#"	Password: "«P»","#,
    r#"var password string = "«P»""#,
    r#"os.Setenv("DB_PASSWORD", "«P»")"#,
    r#"flag.String("password", "«P»", "the password")"#,
    r#"req.Header.Set("X-Api-Key", "«K»")"#,
    // Rust
    r#"const PASSWORD: &str = "«P»";"#,
    r#"static DB_PASSWORD: &'static str = "«P»";"#,
    r#"let password = "«P»".to_string();"#,
    r#"let password: String = String::from("«P»");"#,
    r#"let password = String::from("«P»");"#,
    r#"builder.password("«P»")"#,
    r#"command.env("PGPASSWORD", "«P»")"#,
    // Java, Kotlin, Scala, Gradle
    r#"private static final String PASSWORD = "«P»";"#,
    r#"source.setPassword("«P»");"#,
    r#"props.put("password", "«P»");"#,
    r#"@Value("${db.password:«P»}")"#,
    r#"char[] password = "«P»".toCharArray();"#,
    r#"val password: String = "«P»""#,
    r#"const val DB_PASSWORD = "«P»""#,
    r#"storePassword "«P»""#,
    "keyPassword = '«P»'",
    r#""password" -> "«P»""#,
    r#"buildConfigField 'String', 'API_KEY', '"«K»"'"#,
    // C#
    r#"string password = @"«P»";"#,
    r#"public string Password { get; set; } = "«P»";"#,
    r#"public static string ApiKey { get; private set; } = "«K»";"#,
    r#"public string Password => "«P»";"#,
    r#"["Password"] = "«P»""#,
    // C, C++, Objective-C
    "#define DB_PASSWORD \"«P»\"",
    r#"const char *password = "«P»";"#,
    r#"const char* const kPassword = "«P»";"#,
    r#"char password[] = "«P»";"#,
    r#"static const char password[32] = "«P»";"#,
    r#"std::string password{"«P»"};"#,
    r#"std::string password("«P»");"#,
    r#"NSString *password = @"«P»";"#,
    // PHP
    "'password' => '«P»',",
    "define('DB_PASSWORD', '«P»');",
    r#"$password = "«P»";"#,
    "$config['db_password'] = '«P»';",
    r#"putenv("DB_PASSWORD=«P»");"#,
    "'password' => env('DB_PASSWORD', '«P»'),",
    // Ruby, Perl, Lua, Elixir
    r#":password => "«P»""#,
    "ENV['DB_PASSWORD'] = '«P»'",
    "ENV.fetch('DB_PASSWORD', '«P»')",
    r#"ENV["DB_PASSWORD"] || "«P»""#,
    r#"@password ||= "«P»""#,
    "my $password = '«P»';",
    r#"$ENV{DB_PASSWORD} = "«P»";"#,
    r#"$ENV{'DB_PASSWORD'} = "«P»";"#,
    r#"local password = "«P»""#,
    r#"@password "«P»""#,
    r#"config :app, App.Repo, password: "«P»""#,
    r#"System.put_env("DB_PASSWORD", "«P»")"#,
    // Swift, Dart, Haskell, R
    r#"static let password: String = "«P»""#,
    "const String password = '«P»';",
    r#"connectPassword = "«P»""#,
    r#"password <- "«P»""#,
    r#"Sys.setenv(DB_PASSWORD = "«P»")"#,
    r#"Sys.setenv("DB_PASSWORD" = "«P»")"#,
    // SQL
    "CREATE USER 'app'@'%' IDENTIFIED BY '«P»';",
    "ALTER USER app IDENTIFIED WITH mysql_native_password BY '«P»';",
    "CREATE USER app WITH PASSWORD '«P»';",
    "ALTER ROLE app WITH ENCRYPTED PASSWORD '«P»';",
    "SET PASSWORD FOR 'app'@'%' = PASSWORD('«P»');",
    "CREATE LOGIN app WITH PASSWORD = N'«P»';",
    // shells
    r#"export DB_PASSWORD="«P»""#,
    "DB_PASSWORD='«P»' ./run.sh",
    "PGPASSWORD=«P» psql -h db",
    r#"declare -r PASSWORD="«P»""#,
    "PASSWORD=${PASSWORD:-«P»}",
    r#": "${DB_PASSWORD:=«P»}""#,
    "setenv DB_PASSWORD «P»",
    "set DB_PASSWORD=«P»",
    r#"setx DB_PASSWORD "«P»""#,
    r#"$env:DB_PASSWORD = "«P»""#,
    r#"[string]$Password = "«P»""#,
    r#"$pw = ConvertTo-SecureString "«P»" -AsPlainText -Force"#,
    "ConvertTo-SecureString -String '«P»' -AsPlainText -Force",
    r#"Connect-App -User ci -Password "«P»""#,
    // files
    "DB_PASSWORD=«P»\n",
    "password = «P»\n",
    "spring.datasource.password=«P»\n",
    "spring.datasource.password: «P»\n",
    "  password: «P»\n",
    "  - password: '«P»'\n",
    "  \"password\" : \"«P»\"",
    r#"{\"password\": \"«P»\"}"#,
    r#"{\\\"password\\\":\\\"«P»\\\"}"#,
    "<password>«P»</password>",
    r#"<db user="app" password="«P»" />"#,
    r#"<property name="password" value="«P»"/>"#,
    r#"<property name="connection.password">«P»</property>"#,
    r#"<add key="DbPassword" value="«P»" />"#,
    r#"<string name="api_key">«K»</string>"#,
    "<password><![CDATA[«P»]]></password>",
    "<key>password</key>\n<string>«P»</string>",
    "db_password = \"«P»\"\n",
    "variable \"db_password\" {\n  default = \"«P»\"\n}",
    "helm install app --set db.password=«P»",
    "helm install app --set-string auth.password=«P»,replicas=2",
    "      - DB_PASSWORD=«P»\n",
    "      - \"DB_PASSWORD=«P»\"\n",
    "Environment=\"DB_PASSWORD=«P»\"\n",
    "ENV DB_PASSWORD=«P»\n",
    "ENV DB_PASSWORD «P»\n",
    "ENV MODE=a DB_PASSWORD=\"«P»\"\n",
    "ARG DB_PASSWORD=«P»\n",
    "ansible_ssh_pass=«P»\n",
    "- name: DB_PASSWORD\n  value: «P»\n",
    "- name: API_KEY\n  value: \"«K»\"\n",
    "proxy_set_header X-Api-Key \"«K»\";",
    "proxy_set_header Authorization \"Bearer «K»\";",
    "proxy_set_header Authorization \"Basic «B»\";",
    "requirepass «P»\n",
    "machine api.example login ci password «P»\n",
    "machine api.example\n\tlogin ci\n\tpassword «P»\n",
    "db.example:5432:crm:app:«P»\n",
    "localhost:5432:*:app:«P»\n",
    "{\"auths\":{\"r.example\":{\"auth\":\"«B»\"}}}",
    "//registry.example/:_authToken=«U»\n",
    "//registry.example/:_password=\"«S»\"\n",
    "_auth = «B»\n",
    "PrivateKey = «S»\n",
    "PresharedKey = «S»\n",
    // commands
    "curl -u ci:«P» https://a.example",
    "curl -u 'ci:«P»' https://a.example",
    "curl -u \"ci:«P»\" https://a.example",
    "curl --user ci:«P» https://a.example",
    "curl -sS --user 'ci:«P»' https://a.example",
    "curl --user=ci:«P» https://a.example",
    "curl -H 'Authorization: Bearer «K»' https://a.example",
    "curl -H \"Authorization: Basic «B»\" https://a.example",
    "curl -H \"Authorization: token «K»\" https://a.example",
    "curl -H \"Authorization: ApiKey «K»\" https://a.example",
    "curl -H 'X-Auth-Token: «H»' https://a.example",
    "curl -H \"DD-API-KEY: «H»\" https://a.example",
    "curl 'https://a.example/v1?page=2&api_key=«K»&q=1'",
    "wget --user=ci --password=«P» https://a.example",
    "wget --http-password=«P» https://a.example",
    "docker login -u ci -p «P» registry.example",
    "docker login -u ci -p '«P»' registry.example",
    "docker login -u ci --password «P» registry.example",
    "helm registry login r.example -u ci -p «P»",
    "az login --service-principal -u app -p «P» --tenant t",
    "sshpass -p «P» ssh host",
    "sshpass -p '«P»' ssh host",
    "sshpass -p«P» ssh host",
    "mysql -u root -p«P» crm",
    "mysql -uroot -p'«P»' crm",
    "mysqldump --password=«P» crm",
    "mongosh -u app -p «P» db",
    "redis-cli -h db -a «P» ping",
    "redis-cli -a '«P»' ping",
    "openssl rsa -in key.enc -passin pass:«P» -out key",
    "openssl req -passout pass:«P» -new",
    "keytool -storepass «P» -list",
    "ldapsearch -D cn=app -w «P» -b dc=example",
    "ldapsearch -x -D \"cn=app\" -w '«P»' -b dc=example",
    "sqlcmd -S db -U sa -P «P» -Q q",
    "sqlcmd -S db -U sa -P \"«P»\" -Q q",
    "gpg --batch --passphrase «P» -d f",
    "java -Djavax.net.ssl.keyStorePassword=«P» -jar a.jar",
    "tool --api-key «K» run",
    "tool --token=«K» run",
    "gh secret set API_KEY --body \"«K»\"",
    "aws configure set aws_secret_access_key «K»",
    "ansible-playbook -e \"db_password=«P»\" site.yml",
    "docker run -e POSTGRES_PASSWORD=«P» postgres",
    // addresses and connection strings
    "postgres://app:«P»@db.example/crm",
    "postgresql+psycopg2://app:«P»@db.example/crm",
    "mysql://app:«P»@db.example:3306/crm",
    "mongodb+srv://app:«P»@c0.example/crm",
    "redis://:«P»@cache:6379/0",
    "rediss://default:«P»@cache:6379/0",
    "amqp://app:«P»@mq:5672/vhost",
    "amqps://app:«P»@mq/vhost",
    "smtp://app:«P»@mail.example:587",
    "smtps://app%40a.example:«P»@mail.example:465",
    "ftp://app:«P»@ftp.example/a",
    "sftp://app:«P»@ftp.example/a",
    "ldap://cn=app:«P»@ldap.example",
    "https://ci:«P»@git.example/a.git",
    "ssh://ci:«P»@git.example/a.git",
    "clickhouse://app:«P»@db:9000/d",
    "nats://app:«P»@mq:4222",
    "jdbc:postgresql://db/crm?user=app&password=«P»",
    "jdbc:sqlserver://db:1433;databaseName=crm;user=app;password=«P»;encrypt=true",
    "Server=db;Database=crm;User Id=app;Password=«P»;",
    "Data Source=db;Initial Catalog=crm;uid=app;pwd=«P»;",
    "Driver={ODBC Driver 18};Server=db;UID=app;PWD={«P»};",
    "host=db user=app password=«P» dbname=crm",
    "host=db user=app password='«P»' dbname=crm",
    "Endpoint=sb://a.example/;SharedAccessKeyName=Root;SharedAccessKey=«S»;EntityPath=q",
    "HostName=a.example;DeviceId=d;SharedAccessKey=«S»",
    "AccountEndpoint=https://a.example:443/;AccountKey=«S»;",
    // headers and cookies
    "Authorization: Bearer «K»\r\n",
    "authorization: Basic «B»\n",
    "Authorization: Token «K»\n",
    "Proxy-Authorization: Basic «B»\n",
    "X-Api-Key: «K»\n",
    "x-auth-token: «H»\n",
    "Cookie: theme=dark; sessionid=«K»; lang=en\n",
    "Set-Cookie: JSESSIONID=«H»; Path=/\n",
    "Set-Cookie: connect.sid=«K»; Path=/\n",
    "Set-Cookie: session=«K»; HttpOnly\n",
    "Cookie: PHPSESSID=«K»\n",
    "https://a.blob.core.windows.net/c?sv=2022-11-02&sig=«S»&se=2027",
    // objects
    "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\ndata:\n  settings: «B»\n",
    "apiVersion: v1\ndata:\n  settings: «B»\nkind: Secret\n",
    "kind: Secret\nstringData:\n  smtp: «P»\n",
    "{\"kty\":\"oct\",\"k\":\"«K»\"}",
    "{\"crv\":\"P-256\",\"d\":\"«K»\",\"kty\":\"EC\"}",
    "{kty: 'oct', k: '«K»'}",
    // over lines
    "const PASSWORD: &str =\n    \"«P»\";",
    "password = \"\"\"«P»\"\"\"",
    "password: |\n  «P»\n",
    "password: >-\n  «P»\n",
    // pairs
    "new NetworkCredential(\"ci\", \"«P»\")",
    "requests.get(u, auth=HTTPBasicAuth(\"ci\", \"«P»\"))",
    // prose
    "the password is «P» for now",
    "The password is: «P»\n",
    "my password is \"«P»\"",
    "the root password is `«P»`.",
    "password: «P»",
    "Passwort: «P»\n",
    "user: app / password: «P»\n",
    "**Password:** «P»\n",
    "**Password**: «P»\n",
    "- Password: `«P»`\n",
    "the datadog api key is «H».",
    "Our stripe secret key: «K»\n",
    "here is the access token «K» for it",
    "the API key is `«K»`",
    // keys of vendors
    "LOB_KEY=«K»\n",
    "twilio_auth = \"«H»\"",
    "COSMOS_PRIMARY_KEY: «S»\n",
    "datadogKey: '«H»'",
    "OPENAI_KEY=«K»\n",
    "HEROKU_API_KEY=«U»\n",
    "AZURE_OPENAI_KEY=«H»\n",
];

/// Forms without a secret.
const UNTOUCHED: &[&str] = &[
    "password = getpass.getpass()",
    "password = input(\"Password: \")",
    "password: ${DB_PASSWORD}",
    "password: {{ .Values.db.password }}",
    "password: !vault |",
    "password: <your-password>",
    "password = \"changeme\"",
    "@Value(\"${db.password:}\")",
    "PASSWORD=${PASSWORD:-}",
    "PASSWORD=${PASSWORD:?no password2}",
    "public string Password { get; set; } = string.Empty;",
    "public string Password { get; set; } = \"\";",
    "const password = req.body.password1;",
    "const char *password = argv[2];",
    "password := os.Getenv(\"DB_PASSWORD2\")",
    "let password = String::from_utf8(bytes2)?;",
    "builder.password(password2)",
    "std::string password(argv[1]);",
    "ENV.fetch('DB_PASSWORD')",
    "ALTER USER app IDENTIFIED BY :password2;",
    "IDENTIFIED BY '<password>'",
    "ConvertTo-SecureString $env:PW -AsPlainText -Force",
    "docker login -u ci --password-stdin registry2.example",
    "mysql -u root -p crm2024",
    "mysql -P 3306 -p",
    "mkdir -p -m 755 a1b2c3d4/e5",
    "cp -a build/x86_64-v2 dist",
    "grep -w Utf8Error2x src",
    "tar -a -c -f out2.tar.gz",
    "openssl rsa -passin env:KEY_PASSWORD2",
    "openssl rsa -passin file:/run/pw2",
    "curl -u $USER:$PASSWORD https://a.example",
    "curl -u ci: https://a.example",
    "jdbc:oracle:thin:@db:1521:crm2",
    "postgres://user:pass@localhost/db",
    "https://a.example:8443/a@b2",
    "session = requests.Session()",
    "session: AsyncSession2 = make()",
    "the api key is stored in vault2",
    "the key is 38dc1607cc5435aab5472f1a6e6fd4c0",
    "the access token is refreshed2 each hour",
    "sort_key = \"q7Zk2LmX9vTb4RnW8sYc\"",
    "primary key (id2)",
    "<key>CFBundleVersion</key>\n<string>1.0.2b3</string>",
    "kind: Secret\nmetadata:\n  name: app-tls-2\ntype: Opaque\n",
    "apiVersion: v1\ndata:\n  mode: Prod2-x9\nkind: ConfigMap\n",
    "kind: ConfigMap\ndata:\n  mode: cHJvZHVjdGlvbjI=\n",
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"kid\":\"a1\"}",
];

#[test]
fn every_form_is_found_and_nothing_else() {
    let mut wrong = Vec::new();
    for form in FOUND {
        let (text, start, end) = filled(form);
        let found: Vec<_> = mask(&text)
            .1
            .iter()
            .map(|f| (f.offset, f.offset + f.length))
            .collect();
        if found != [(start as u64, end as u64)] {
            wrong.push(format!("{form}: {start}..{end} is {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn forms_without_a_secret_stay() {
    for form in UNTOUCHED {
        let findings = mask(&format!("{form}\n")).1;
        assert!(findings.is_empty(), "{form}: {findings:?}");
    }
}

/// The forms with their values, and those without.
pub(super) fn texts() -> Vec<String> {
    let found = FOUND.iter().map(|form| filled(form).0);
    found
        .chain(UNTOUCHED.iter().map(|form| (*form).to_owned()))
        .collect()
}

/// A form with its value, and where that is.
fn filled(form: &str) -> (String, usize, usize) {
    let mut example = form.to_owned();
    for (name, value) in VALUES {
        example = example.replace(&format!("«{name}»"), &format!("«{value}»"));
    }
    unmarked(&example)
}
